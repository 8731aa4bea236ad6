/// \file What a generator remembers; no template, so that it is compiled once for all policies.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/need.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The text, the passages that stand, what the model holds, and the result so far.
class GenerationState {
public:
    using Clock = std::chrono::steady_clock;

    // Beyond this many tokens the buffers grow as they are needed; a caller may ask for "no limit".
    static constexpr std::size_t max_reserved = 65536;

    void begin(TokenSpan prompt, const GenerateOptions& given, const ModelFacts& facts, bool surprisals) {
        began = Clock::now();
        const std::size_t reserved = std::min(given.max_tokens, max_reserved);
        context.reserve(prompt.size() + reserved);
        context.assign(prompt.begin(), prompt.end());  // before the result is cleared, which the prompt may view
        head.assign_copy(given.head ? *given.head : facts.head);
        masked.assign_copy(given.masked);
        options = given;
        options.head.reset();
        options.masked = {};
        model = facts;
        model.head = {};
        result = {};
        result.tokens.reserve(reserved);
        collects_surprisals = surprisals || given.surprisals;
        if (collects_surprisals) result.surprisals.reserve(reserved);
        prompt_tokens = prompt.size();
        passages.clear();
        retrieval.reset();
        taken_from = {};
        retrieved_at = dropped = put_off = 0;
    }

    StepView step() const {
        return {.context = context,
                .prompt_tokens = prompt_tokens,
                .retrievals = result.stats.retrievals,
                .since_retrieval = result.tokens.size() - retrieved_at,
                .logits = taken_from,
                .rewind = 0,
                .passages = passages,
                .dropped = dropped,
                .surprisals = result.surprisals};
    }

    ContextParts parts() const { return {head.tokens, passages, TokenSpan{context}.subspan(dropped)}; }

    /// The passages that stand from now on, copied.
    void stand(std::span<const Passage> found) {
        standing.clear();
        for (const Passage& passage : found) standing.emplace_back(passage);
        passages.clear();
        for (const OwnedPassage& passage : standing) passages.push_back(passage.view());
    }

    /// The report of a search whose answer stands now.
    void report_retrieval(std::size_t rewind) {
        retrieval = Retrieval{.at = result.tokens.size() - rewind,
                              .rewound = rewind,
                              .query_tokens = query.tokens,
                              .query_text = query.text,
                              .passages = {},
                              .counts = {},
                              .seconds = 0};
        for (const OwnedPassage& passage : standing) {
            retrieval->passages.push_back({passage.id, passage.title, passage.text, passage.score, passage.tokens.size()});
        }
    }

    /// Takes the newest tokens of the text back.
    void rewind(std::size_t tokens) {
        result.tokens.resize(result.tokens.size() - tokens);
        context.resize(context.size() - tokens);
        if (collects_surprisals) result.surprisals.resize(result.tokens.size());
        if (dropped >= context.size()) dropped = 0;  // behind what was dropped there is room for it again
        retrieved_at = std::min(retrieved_at, result.tokens.size());
        taken_from = {};
        ++result.stats.rewinds;
        result.stats.rewound += tokens;
    }

    /// Puts a token that was taken from logits behind the text.
    void push(TokenId token, std::span<const float> logits) {
        result.tokens.push_back(token);
        context.push_back(token);
        taken_from = logits;
        if (collects_surprisals) result.surprisals.push_back(surprisal(logits, token));
    }

    /// The logits, or a copy of them in which markers and masked tokens have no probability.
    std::span<const float> without_masked(std::span<const float> logits, TokenSpan markers) {
        if (markers.empty() && masked.tokens.empty()) return logits;
        masked_logits.assign(logits.begin(), logits.end());
        for (const TokenSpan ids : {markers, TokenSpan{masked.tokens}}) {
            for (const TokenId id : ids) {
                if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
                    masked_logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
                }
            }
        }
        return masked_logits;
    }

    /// The first logit that no token can be taken beside: NaN or +infinity.
    static std::optional<std::size_t> first_bad(std::span<const float> logits) {
        const auto bad =
            std::ranges::find_if(logits, [](float logit) { return !(logit <= std::numeric_limits<float>::max()); });
        if (bad == logits.end()) return std::nullopt;
        return static_cast<std::size_t>(bad - logits.begin());
    }

    /// Room for all tokens up to the next plan, so that single steps allocate nothing.
    void reserve_for(std::size_t wanted) {
        const std::size_t rest = result.tokens.capacity() - result.tokens.size();
        held.reserve(wanted + rest);
        // And for the plan of a window that fills up before the next retrieval.
        if (wanted <= model.window && rest > model.window - wanted) scratch.wanted.reserve(model.window + 1);
    }

    static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

    /// Tokens of the caller's that are needed for longer than his call.
    struct Kept {
        TokenBuffer tokens;
        void assign_copy(TokenSpan from) { tokens.assign(from.begin(), from.end()); }
    };

    GenerateOptions options;  // without head and masked, which are copied
    ModelFacts model;         // without head
    Kept head;
    Kept masked;
    Generation result;
    TokenBuffer context;                 // the prompt and what was generated
    TokenBuffer held;                    // what the model holds
    std::vector<OwnedPassage> standing;  // of the last retrieval
    std::vector<Passage> passages;       // views of them
    std::optional<Retrieval> retrieval;  // found, and not yet read by the model
    OwnedQuery query;
    PlanScratch scratch;
    std::vector<float> masked_logits;
    std::span<const float> taken_from;  // the logits that the newest token was taken from
    std::size_t prompt_tokens = 0;
    std::size_t retrieved_at = 0;
    std::size_t dropped = 0;  // oldest tokens of the context that are no longer read
    std::size_t put_off = 0;  // how often the schedule went on at an end
    bool collects_surprisals = false;
    Clock::time_point began;
    Clock::time_point needed;  // when the present need came up
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

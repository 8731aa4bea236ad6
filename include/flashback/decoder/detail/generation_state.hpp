/// \file What a generator remembers. It is not a template, so it is compiled once for all policies.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/decoder/detail/fused_state.hpp"
#include "flashback/decoder/detail/text_places.hpp"
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

/// Copies of passages and views of them.
class StandingPassages {
public:
    StandingPassages() = default;
    StandingPassages(StandingPassages&&) noexcept = default;
    StandingPassages& operator=(StandingPassages&&) noexcept = default;
    ~StandingPassages() = default;
    StandingPassages(const StandingPassages& other) : owned_(other.owned_) { make_views(); }
    StandingPassages& operator=(const StandingPassages& other) {
        if (this != &other) *this = StandingPassages{other};
        return *this;
    }

    /// Takes tokens from the ends of the longest of the first `read` passages. When these have a token each, all passages go at once,
    /// so that a fusion never loses some of its branches.
    void shorten(std::size_t count, std::size_t read) {
        for (; count > 0 && !owned_.empty(); --count) {
            auto longest = owned_.begin();
            for (auto passage = owned_.begin(); passage != owned_.begin() + static_cast<std::ptrdiff_t>(read); ++passage)
                if (passage->tokens.size() >= longest->tokens.size()) longest = passage;
            if (longest->tokens.size() < 2) {
                owned_.clear();
            } else {
                longest->tokens.pop_back();
            }
        }
        make_views();
    }

    void assign(std::span<const Passage> found) {
        std::vector<OwnedPassage> copies;  // what is found may view those that stand
        for (const Passage& passage : found) copies.emplace_back(passage);
        owned_ = std::move(copies);
        make_views();
    }
    std::span<const Passage> views() const noexcept { return views_; }
    std::span<const float> scores() const noexcept { return scores_; }

private:
    void make_views() {
        views_.clear();
        scores_.clear();
        for (const OwnedPassage& passage : owned_) {
            views_.push_back(passage.view());
            scores_.push_back(passage.score);
        }
    }

    std::vector<OwnedPassage> owned_;
    std::vector<Passage> views_;
    std::vector<float> scores_;
};

/// Logits that a token is taken from: a view of the model's, or a copy in which some tokens have no probability. A copy of this
/// object has the logits themselves, because the model may be gone.
class NewestLogits {
public:
    NewestLogits() = default;
    NewestLogits(NewestLogits&&) noexcept = default;
    NewestLogits& operator=(NewestLogits&&) noexcept = default;
    ~NewestLogits() = default;
    NewestLogits(const NewestLogits& other) : own_(other.view_.begin(), other.view_.end()), view_(own_) {}
    NewestLogits& operator=(const NewestLogits& other) {
        if (this != &other) *this = NewestLogits{other};
        return *this;
    }

    std::span<const float> view() const noexcept { return view_; }

    /// They are no longer there.
    void forget() noexcept { view_ = {}; }

    /// The logits themselves, or the copy if there are tokens to mask. They are shown only after a token was taken from them.
    std::span<const float> without(std::span<const float> logits, TokenSpan markers, TokenSpan masked) {
        view_ = {};
        if (markers.empty() && masked.empty()) return logits;
        own_.assign(logits.begin(), logits.end());
        for (const TokenSpan ids : {markers, masked}) {
            for (const TokenId id : ids) {
                if (id >= 0 && static_cast<std::size_t>(id) < own_.size()) {
                    own_[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
                }
            }
        }
        return own_;
    }

    void show(std::span<const float> logits) noexcept { view_ = logits; }

private:
    std::vector<float> own_;
    std::span<const float> view_;
};

/// What the model read for the newest token. A copy of it has none: it would ask another model.
class AttentionOfOwner : public std::optional<StepAttention> {
public:
    AttentionOfOwner() = default;
    AttentionOfOwner(AttentionOfOwner&&) noexcept = default;
    AttentionOfOwner& operator=(AttentionOfOwner&&) noexcept = default;
    ~AttentionOfOwner() = default;
    AttentionOfOwner(const AttentionOfOwner& /*other*/) noexcept : std::optional<StepAttention>{} {}
    AttentionOfOwner& operator=(const AttentionOfOwner& other) noexcept {
        if (this != &other) reset();
        return *this;
    }
};

/// The text, the passages that stand, what the model holds, and the result so far.
class GenerationState {
public:
    using Clock = std::chrono::steady_clock;

    // Beyond this many tokens the buffers grow as they are needed; a caller may ask for "no limit".
    static constexpr std::size_t max_reserved = 65536;

    void begin(TokenSpan prompt, const GenerateOptions& given, const ModelFacts& facts, bool surprisals, bool reads_attention) {
        began = Clock::now();
        context.reserve(prompt.size() + std::min(given.max_tokens, max_reserved));
        context.assign(prompt.begin(), prompt.end());  // before the result is cleared, because the prompt may view it
        options = given;
        if (!options.head) options.head = facts.head;
        model = facts;
        model.head = {};
        result = {};
        collects_surprisals = surprisals || given.surprisals;
        wants_attention = reads_attention;
        places.clear();
        attention.reset();
        prompt_tokens = prompt.size();
        reserve_text();
        standing.assign({});
        laid_out.clear();
        retrieval.reset();
        newest.forget();
        fused.close();
        reuse = {};
        retrieved_at = dropped = put_off = sinks = 0;
        planned_tokens = held.size();
        // What was moved in the last generation was what that asked for; now it counts as what is not exact.
        if (evicted_at < held.size()) held_plain = std::min(held_plain.value_or(evicted_at), evicted_at);
        evicted_at = std::numeric_limits<std::size_t>::max();
    }

    StepView step() const {
        return {.context = context,
                .prompt_tokens = prompt_tokens,
                .retrievals = result.stats.retrievals,
                .since_retrieval = result.tokens.size() - retrieved_at,
                .logits = newest.view(),
                .rewind = 0,
                .passages = standing.views(),
                .dropped = dropped,
                .surprisals = result.surprisals,
                .attention = attention && !newest.view().empty() ? &*attention : nullptr,
                .evaluated = result.stats.counts.evaluated};
    }

    TokenSpan head() const { return options.head ? options.head->view() : TokenSpan{}; }

    ContextParts parts(std::span<const Passage> passages) {
        const std::size_t written = held.size() - std::min(planned_tokens, held.size());
        return {head(), passages, read_text(), laid_out, held_plain.value_or(held.size()), written};
    }

    /// How much of the text the model is to read.
    std::size_t read_size() const noexcept { return context.size() - dropped; }

    /// The text that the model is to read.
    TokenSpan read_text() {
        const TokenSpan all = context;
        if (dropped == 0 || sinks == 0) return all.subspan(dropped);
        sinks_and_rest.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(sinks));
        append(sinks_and_rest, all.subspan(sinks + dropped));
        return sinks_and_rest;
    }

    /// Counts what a part of a plan took, and with the first one what the plan reuses.
    void count(TokenCounts counts) {
        counts += std::exchange(reuse, {});
        result.stats.counts += counts;
        if (retrieval) retrieval->counts += counts;
    }

    /// Counts what a branch took.
    void count_branch(std::size_t branch, TokenCounts counts) {
        result.stats.branches[branch] += counts;
        count(counts);
    }

    /// Counts the evaluation of all branches: of their plans, or of a token in each.
    void count_branches() {
        for (std::size_t i = 0; i < fused.next().size(); ++i) {
            if (fused.stepping()) {
                count_branch(i, {1, 1, 0, 0});
            } else {
                const ContextPlan& plan = fused.scratch.plans[i].plan;
                count_branch(i, {plan.wanted.size(), plan.feed.size(), plan.keep, 0});
            }
        }
    }

    /// How many positions the longest text takes that the model or a branch holds.
    std::size_t longest_held() const noexcept { return fused.stand() ? fused.longest : held.size(); }

    /// Adds the time that the present need took.
    void spend(double& seconds) {
        const double spent = since(needed);
        seconds += spent;
        if (retrieval) retrieval->seconds += spent;
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
        report_passages(*retrieval, standing.views());
    }

    static void report_passages(Retrieval& of, std::span<const Passage> passages) {
        of.passages.clear();
        for (const Passage& passage : passages) {
            of.passages.push_back({std::string{passage.id}, std::string{passage.title}, std::string{passage.text},
                                   passage.score, passage.tokens.size()});
        }
    }

    /// Takes the newest tokens of the text back.
    void rewind(std::size_t tokens) {
        result.tokens.resize(result.tokens.size() - tokens);
        context.resize(context.size() - tokens);
        if (collects_surprisals) result.surprisals.resize(result.tokens.size());
        if (dropped + sinks >= context.size()) dropped = 0;  // what is left of the text was dropped, and fits again
        retrieved_at = std::min(retrieved_at, result.tokens.size());
        newest.forget();
        attention.reset();
        places.rewind(tokens);
        ++result.stats.rewinds;
        result.stats.rewound += tokens;
    }

    /// What the model reads at the position after which the next token is taken, and where the text stands in it.
    /// `passages_in_text` tells whether what was planned has the passages.
    void read_attention(const ModelAttention& given, bool planned, bool passages_in_text) {
        if (planned) {
            places.find({context, sinks, dropped},
                        {held, head().size(), passages_in_text ? scratch.passages : std::span<const TokenSpan>{}});
        } else {
            places.hold(held.size());
        }
        attention.emplace();
        static_cast<ModelAttention&>(*attention) = given;
    }

    /// Appends a token to the text; it was taken from `logits`.
    void push(TokenId token, std::span<const float> logits) {
        if (attention) {
            places.push();
            attention->places = places.view();
        }
        result.tokens.push_back(token);
        context.push_back(token);
        newest.show(logits);
        if (collects_surprisals) result.surprisals.push_back(surprisal(logits, token));
    }

    /// The first logit that makes sampling impossible: NaN or +infinity.
    static std::optional<std::size_t> first_bad(std::span<const float> logits) {
        const auto bad =
            std::ranges::find_if(logits, [](float logit) { return !(logit <= std::numeric_limits<float>::max()); });
        if (bad == logits.end()) return std::nullopt;
        return static_cast<std::size_t>(bad - logits.begin());
    }

    /// How many tokens more there is room for.
    std::size_t room_left() const noexcept { return result.tokens.capacity() - result.tokens.size(); }

    /// Room for the text, which a copy does not have.
    void reserve_text() {
        const std::size_t reserved = std::min(options.max_tokens, max_reserved);
        context.reserve(prompt_tokens + reserved);
        result.tokens.reserve(reserved);
        if (collects_surprisals) result.surprisals.reserve(reserved);
        if (wants_attention) places.reserve(prompt_tokens + reserved);
    }

    /// Room for all tokens up to the next plan, so that single steps allocate nothing.
    void reserve_for(std::size_t wanted) {
        const std::size_t rest = room_left();
        held.reserve(wanted + rest);
        laid_out.reserve(wanted + rest);
        // And for the plan of a window that fills up before the next retrieval.
        if (wanted <= model.window && rest > model.window - wanted) scratch.wanted.reserve(model.window + 1);
    }

    static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

    GenerateOptions options;  // with the head of the model, unless there is another
    ModelFacts model;         // without head
    Generation result;
    TokenBuffer context;                    // the prompt and what was generated
    TokenBuffer held;                       // what the model holds
    std::optional<std::size_t> held_plain;  // how many of them saw no passages beside the text; none: all, and nothing is seen
    std::size_t planned_tokens = 0;         // how many of `held` the last plan laid out; the text since stands behind them
    TokenBuffer laid_out;                // by the last plan, and the text since; what is held, whatever the model held before
    StandingPassages standing;           // of the last retrieval
    std::optional<Retrieval> retrieval;  // found, and not yet read by the model
    OwnedQuery query;
    PlanScratch scratch;  // of the text that the model holds
    FusedState fused;     // of its branches
    TokenCounts reuse;    // of the plan that is being carried out, until something was evaluated
    NewestLogits newest;  // what the newest token was taken from
    TextPlaces places;    // if a policy wants attention
    AttentionOfOwner attention;
    bool wants_attention = false;
    std::size_t prompt_tokens = 0;
    std::size_t retrieved_at = 0;
    std::size_t dropped = 0;  // oldest tokens of the context, after the sinks, that are no longer read
    std::size_t sinks = 0;    // tokens in front of them that still are
    std::size_t evicted_at = std::numeric_limits<std::size_t>::max();  // the first position that was moved in this generation
    TokenBuffer sinks_and_rest;
    std::size_t put_off = 0;  // how often the schedule went on at an end
    bool collects_surprisals = false;
    Clock::time_point began;
    Clock::time_point needed;  // when the present need came up
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file The loop: schedule, query, retrieve, plan, evaluate, sample.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/policies.hpp"

#include <chrono>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of one generation.
struct GenerateOptions {
    std::size_t max_tokens = 128;        ///< the most tokens to generate
    std::size_t passages = 1;            ///< passages asked for at each retrieval
    bool ignore_eos = false;             ///< go on when the model ends its text
    std::optional<TokenSpan> head = {};  ///< tokens in front of everything; by default what the model asks for
    TokenSpan masked = {};               ///< tokens never to generate, besides the wrapper's markers
};

/// Generates text while it retrieves. Refers to the model and the retriever, which must outlive it; holds the policies.
///
/// It works with every LanguageModel, ours or another engine's. Between two calls the model keeps its cache, and the next
/// call reuses of it what its own plan allows.
template <class Model, class Documents, class PoliciesT>
class Decoder {
    static_assert(LanguageModel<Model>,
                  "flashback: a LanguageModel must have evaluate(TokenSpan), truncate(std::size_t), size() and vocab_size()");
    static_assert(Retriever<Documents>,
                  "flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a range of Passage");

public:
    Decoder(Model& model, Documents& retriever, PoliciesT policies = {})
        : model_(&model), retriever_(&retriever), policies_(std::move(policies)) {}

    PoliciesT& policies() noexcept { return policies_; }

    /// Continues a prompt, which is given without BOS.
    /// Throws    Error{window} if head, prompt and the first passages are longer than the model's window;
    ///           Error{contract} for a prompt that is empty where the head is too, or if something else changed the
    ///           size of the model between two single steps, or of a model without `tokens()` at any time; Error{logits};
    ///           what model, retriever and policies throw. Then `partial()` has what was generated, and the model holds
    ///           what it says it holds.
    /// Cost      at most max_tokens evaluations; allocates at retrievals and at the start only
    Generation generate(TokenSpan prompt, const GenerateOptions& options = {}) {
        return generate(prompt, options, [](TokenId) { return true; });
    }

    /// Continues a prompt and hands each token to `on_token(token)`; if that returns false, the generation is cancelled.
    template <std::invocable<TokenId> OnToken>
    Generation generate(TokenSpan prompt, const GenerateOptions& options, OnToken&& on_token) {
        const Clock::time_point start = Clock::now();
        begin(prompt, options);
        partial_.stop = run(prompt.size(), options, on_token);
        partial_.stats.seconds.total = since(start);
        return std::exchange(partial_, {});
    }

    /// What the last call of `generate` had done when it threw.
    const Generation& partial() const noexcept { return partial_; }

private:
    using Clock = std::chrono::steady_clock;
    static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

    static constexpr bool model_remembers = RemembersTokens<Model>;

    TokenSpan held() const {
        if constexpr (model_remembers) {
            return model_->tokens();
        } else {
            return held_;
        }
    }

    // Nothing but this decoder may have changed the model.
    void check_untouched() const {
        const auto size = static_cast<std::size_t>(model_->size());
        FLASHBACK_ASSERT(size == left_, "the model holds ", size, " tokens, but this decoder left ", left_,
                         " in it: something else changed it, and its cache cannot be trusted");
    }

    void begin(TokenSpan prompt, const GenerateOptions& options) {
        const std::size_t reserved = options.max_tokens < max_reserved ? options.max_tokens : max_reserved;
        context_.reserve(prompt.size() + reserved);
        context_.assign(prompt.begin(), prompt.end());  // before partial_ is cleared, which the prompt may view
        partial_ = {};
        if constexpr (!model_remembers) check_untouched();
        partial_.tokens.reserve(reserved);
        policies_.reset();
        retrieved_at_ = 0;
    }

    template <class OnToken>
    StopReason run(std::size_t prompt_tokens, const GenerateOptions& options, OnToken& on_token) {
        const TokenSpan head = options.head ? *options.head : head_of(*model_);
        while (partial_.tokens.size() < options.max_tokens) {
            const StepView step{context_, prompt_tokens, partial_.stats.retrievals, partial_.tokens.size() - retrieved_at_};
            std::optional<std::span<const float>> logits;
            if (policies_.schedule()(step)) {
                logits = retrieve(step, head, options.passages);
            } else if (partial_.tokens.empty()) {
                logits = follow({head, {}, context_}, nullptr);
            } else {
                logits = evaluate_newest();
            }
            if (!logits) return StopReason::window_full;

            const TokenId token = policies_.sampler()(masked(*logits, options.masked));
            FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < logits->size(), "the sampler took token ", token,
                             ", but the model has ", logits->size(), " logits");
            if (!options.ignore_eos && is_end_of(*model_, token)) return StopReason::eos;
            partial_.tokens.push_back(token);
            context_.push_back(token);
            if constexpr (std::convertible_to<std::invoke_result_t<OnToken&, TokenId>, bool>) {
                if (!on_token(token)) return StopReason::cancelled;
            } else {
                on_token(token);
            }
        }
        return StopReason::max_tokens;
    }

    std::optional<std::span<const float>> retrieve(const StepView& step, TokenSpan head, std::size_t count) {
        const Clock::time_point start = Clock::now();
        const Query query = policies_.query()(step);
        auto&& found = retriever_->retrieve(query, count);
        const double seconds = since(start);
        partial_.stats.seconds.retrieve += seconds;

        Retrieval retrieval{.at = step.generated(),
                            .query_tokens = {query.tokens.begin(), query.tokens.end()},
                            .query_text = std::string{query.text},
                            .passages = {},
                            .counts = {},
                            .seconds = seconds};
        documents_.clear();
        for (const Passage& passage : found) {
            documents_.push_back(passage.tokens);
            retrieval.passages.push_back({std::string{passage.id}, std::string{passage.title}, std::string{passage.text},
                                          passage.score, passage.tokens.size()});
        }
        const auto logits = follow({head, documents_, context_}, &retrieval);
        if (!logits) return {};  // what was found never reached the model, so it is not reported either
        retrieved_at_ = step.generated();
        ++partial_.stats.retrievals;
        partial_.retrievals.push_back(std::move(retrieval));
        return logits;
    }

    /// Brings the model to the planned context. Nothing if that does not fit into the window.
    std::optional<std::span<const float>> follow(const ContextParts& parts, Retrieval* retrieval) {
        if constexpr (!model_remembers) check_untouched();
        const ContextPlan plan = plan_context(policies_, held(), parts, scratch_);
        const std::size_t window = window_of(*model_);
        if (plan.wanted.size() > window) {
            if (!partial_.tokens.empty()) return {};
            FLASHBACK_THROW(ErrorCode::window, "the window of the model holds ", window,
                            " tokens, but the first context needs ", plan.wanted.size(), ": ", parts.head.size(),
                            " of the head, ", parts.context.size(), " of the prompt and ", scratch_.documents.size(),
                            " of retrieved passages");
        }
        const std::size_t held_before = held().size();
        const TokenCounts counts{plan.wanted.size(), plan.feed.size(), plan.keep, held_before - plan.keep};
        const Clock::time_point start = Clock::now();
        // Room for all tokens up to the next plan, so that single steps allocate nothing.
        if constexpr (!model_remembers) held_.reserve(plan.wanted.size() + partial_.tokens.capacity() - partial_.tokens.size());
        if (plan.keep < held_before) model_->truncate(plan.keep);
        if constexpr (!model_remembers) held_.resize(plan.keep);
        left_ = plan.keep;
        const std::span<const float> logits = evaluate(plan.feed);
        const double seconds = since(start);

        partial_.stats.seconds.prefill += seconds;
        partial_.stats.counts += counts;
        if (retrieval) {
            retrieval->counts = counts;
            retrieval->seconds += seconds;
        }
        return logits;
    }

    std::optional<std::span<const float>> evaluate_newest() {
        check_untouched();
        if (held().size() >= window_of(*model_)) return {};
        const Clock::time_point start = Clock::now();
        const std::span<const float> logits = evaluate(TokenSpan{context_}.last(1));
        partial_.stats.seconds.decode += since(start);
        partial_.stats.counts += {1, 1, 0, 0};
        return logits;
    }

    std::span<const float> evaluate(TokenSpan tokens) {
        const std::span<const float> logits = model_->evaluate(tokens);
        if constexpr (!model_remembers) append(held_, tokens);
        left_ += tokens.size();
        return logits;
    }

    std::span<const float> masked(std::span<const float> logits, TokenSpan also) {
        const TokenSpan markers = markers_of(policies_.wrapper());
        if (markers.empty() && also.empty()) return logits;
        masked_logits_.assign(logits.begin(), logits.end());
        for (const TokenSpan ids : {markers, also}) {
            for (const TokenId id : ids) {
                if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
                    masked_logits_[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
                }
            }
        }
        return masked_logits_;
    }

    // Beyond this many tokens the buffers grow as they are needed; a caller may ask for "no limit".
    static constexpr std::size_t max_reserved = 65536;

    Model* model_;
    Documents* retriever_;
    FLASHBACK_NO_UNIQUE_ADDRESS PoliciesT policies_;
    Generation partial_;
    TokenBuffer context_;               // the prompt and what was generated
    TokenBuffer held_;                  // what the model holds, if it does not know itself
    std::vector<TokenSpan> documents_;  // of the last retrieval
    PlanScratch scratch_;
    std::vector<float> masked_logits_;
    std::size_t retrieved_at_ = 0;
    std::size_t left_ = 0;  // size of the model as this decoder left it
};

}  // namespace flashback::inline FLASHBACK_ISA

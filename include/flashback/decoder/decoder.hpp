/// \file The loop: schedule, query, retrieve, plan, evaluate, sample.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/policies.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <type_traits>
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
    std::size_t max_rewinds = 1000;      ///< how often the schedule may take tokens back
    std::stop_token stop = {};           ///< cancels between two tokens, and between two pieces of an InterruptibleModel
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
    static_assert(detail::PolicySet<PoliciesT>,
                  "flashback: the policies of a Decoder are a Policies, or have its members: schedule, query, wrapper, layout, "
                  "reuse, sampler, overflow, stopping, reset");

public:
    /// Refers to a model and a retriever, holds the policies, and calls none of them yet.
    /// Requires  a model without `tokens()` is empty when the first generation starts
    Decoder(Model& model, Documents& retriever, PoliciesT policies = {})
        : model_(&model), retriever_(&retriever), policies_(std::move(policies)) {}

    /// The policies, each with the memory that it has now.
    PoliciesT& policies() noexcept { return policies_; }

    /// Continues a prompt, which is given without BOS.
    /// Throws    Error{window} if head, prompt and the first passages are longer than the model's window and nothing may be
    ///           dropped; Error{contract} if head, prompt and the first passages are all empty, if a policy breaks its
    ///           contract, if something else changed the size of the model between two single steps, or of a model
    ///           without `tokens()` at any time, or if the fingerprint of a FingerprintedModel changed while it held tokens;
    ///           Error{logits}; what model, retriever and policies throw. Then `partial()` has what
    ///           was generated, and the model holds what it says it holds.
    /// Cost      at most max_tokens evaluations, and one for each token that a schedule takes back; allocates at retrievals
    ///           and at the start only
    Generation generate(TokenSpan prompt, const GenerateOptions& options = {}) {
        return generate(prompt, options, [](TokenId) { return true; });
    }

    /// Continues a prompt and hands each token to `on_token(token)`; if that returns false, the generation is cancelled. If
    /// it has a member `rewind(n)`, that is told when a schedule takes the newest n tokens back.
    template <std::invocable<TokenId> OnToken>
    Generation generate(TokenSpan prompt, const GenerateOptions& options, OnToken&& on_token) {
        const Clock::time_point start = Clock::now();
        begin(prompt, options);
        partial_.stop = run({options, options.head ? *options.head : head_of(*model_), prompt.size()}, on_token);
        partial_.stats.seconds.total = since(start);
        return std::exchange(partial_, {});
    }

    /// What the last call of `generate` had done when it threw.
    const Generation& partial() const noexcept { return partial_; }

private:
    using Clock = std::chrono::steady_clock;
    static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

    static constexpr bool model_remembers = RemembersTokens<Model>;

    /// What stays the same during a generation.
    struct Call {
        const GenerateOptions& options;
        TokenSpan head;
        std::size_t prompt_tokens;
    };

    /// The logits of an evaluation; if there are none, why.
    struct Outcome {
        std::span<const float> logits;
        StopReason reason = StopReason::cancelled;
    };

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

    // Positions that were evaluated with other weights, another adapter or another rounding are no use to this model.
    void check_same_model() {
        if constexpr (FingerprintedModel<Model>) {
            const std::uint64_t now = model_->fingerprint();
            FLASHBACK_ASSERT(!fingerprint_ || *fingerprint_ == now || static_cast<std::size_t>(model_->size()) == 0,
                             "the model has the fingerprint ", now, ", but this decoder filled its cache when it was ",
                             *fingerprint_, ": weights, adapter or element of the cache have changed, and it cannot be reused");
            fingerprint_ = now;
        }
    }

    void begin(TokenSpan prompt, const GenerateOptions& options) {
        const std::size_t reserved = options.max_tokens < max_reserved ? options.max_tokens : max_reserved;
        context_.reserve(prompt.size() + reserved);
        context_.assign(prompt.begin(), prompt.end());  // before partial_ is cleared, which the prompt may view
        partial_ = {};
        check_same_model();
        if constexpr (!model_remembers) check_untouched();
        partial_.tokens.reserve(reserved);
        policies_.reset();
        documents_.clear();
        taken_from_ = {};
        retrieved_at_ = 0;
        dropped_ = 0;
    }

    StepView step(const Call& call) const {
        return {context_, call.prompt_tokens, partial_.stats.retrievals, partial_.tokens.size() - retrieved_at_, taken_from_};
    }

    template <class OnToken>
    StopReason run(const Call& call, OnToken& on_token) {
        const GenerateOptions& options = call.options;
        while (partial_.tokens.size() < options.max_tokens) {
            if (options.stop.stop_requested()) return StopReason::cancelled;
            const Decision decision = policies_.schedule()(step(call));
            if (decision.stops()) return StopReason::schedule;
            Outcome outcome;
            if (decision.retrieves()) {
                if (decision.rewind() > 0 && partial_.stats.rewinds == options.max_rewinds) return StopReason::max_rewinds;
                outcome = retrieve(call, decision.rewind(), on_token);
            } else if (partial_.stats.counts.requested == 0) {
                outcome = follow(call);
            } else {
                outcome = evaluate_newest(call);
            }
            if (outcome.logits.empty()) return outcome.reason;

            taken_from_ = {};  // what it viewed may be gone
            const std::span<const float> logits = masked(outcome.logits, options.masked);
            const TokenId token = take_token(policies_.sampler(), logits, step(call));
            FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < logits.size(), "the sampler took token ", token,
                             ", but the model has ", logits.size(), " logits");
            FLASHBACK_ASSERT(logits[static_cast<std::size_t>(token)] > -std::numeric_limits<float>::infinity(),
                             "the sampler took token ", token, ", which is masked or not a number: its logit is ",
                             logits[static_cast<std::size_t>(token)]);
            if (!options.ignore_eos && is_end_of(*model_, token)) return StopReason::eos;
            partial_.tokens.push_back(token);
            context_.push_back(token);
            taken_from_ = logits;
            const bool stopping = policies_.stopping()(step(call));
            if constexpr (std::convertible_to<std::invoke_result_t<OnToken&, TokenId>, bool>) {
                if (!on_token(token) && !stopping) return StopReason::cancelled;
            } else {
                on_token(token);
            }
            if (stopping) return StopReason::stop_string;
        }
        return StopReason::max_tokens;
    }

    template <class OnToken>
    Outcome retrieve(const Call& call, std::size_t rewind, OnToken& on_token) {
        FLASHBACK_ASSERT(rewind <= partial_.tokens.size(), "the schedule takes back ", rewind, " tokens, but only ",
                         partial_.tokens.size(), " were generated");
        Retrieval retrieval = find(call, rewind);
        if (rewind > 0) {
            partial_.tokens.resize(partial_.tokens.size() - rewind);
            context_.resize(context_.size() - rewind);
            if (dropped_ >= context_.size()) dropped_ = 0;  // behind what was dropped there is room for it again
            ++partial_.stats.rewinds;
            partial_.stats.rewound += rewind;
            if constexpr (requires { policies_.stopping().rewind(rewind); }) policies_.stopping().rewind(rewind);
            if constexpr (requires { on_token.rewind(rewind); }) on_token.rewind(rewind);
        }
        const Outcome outcome = follow(call, &retrieval);
        if (outcome.logits.empty()) return outcome;  // what was found never reached the model, so it is not reported either
        retrieved_at_ = partial_.tokens.size();
        ++partial_.stats.retrievals;
        partial_.retrievals.push_back(std::move(retrieval));
        return outcome;
    }

    Retrieval find(const Call& call, std::size_t rewind) {
        const Clock::time_point start = Clock::now();
        StepView asking = step(call);
        asking.rewind = rewind;
        const Query query = policies_.query()(asking);
        auto&& found = retriever_->retrieve(query, call.options.passages);
        const double seconds = since(start);
        partial_.stats.seconds.retrieve += seconds;

        Retrieval retrieval{.at = partial_.tokens.size() - rewind,
                            .rewound = rewind,
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
        return retrieval;
    }

    ContextParts parts(const Call& call) const { return {call.head, documents_, TokenSpan{context_}.subspan(dropped_)}; }

    /// Brings the model to the planned context.
    Outcome follow(const Call& call, Retrieval* retrieval = nullptr) {
        check_same_model();
        if constexpr (!model_remembers) check_untouched();
        const std::size_t window = window_of(*model_);
        ContextPlan plan = plan_context(policies_, held(), parts(call), scratch_);
        while (plan.wanted.size() > window) {
            const FullWindow full{window, plan.wanted.size(), parts(call).context.size()};
            const auto drop = static_cast<std::size_t>(policies_.overflow()(full));
            if (drop == 0 || drop >= full.context) return refuse(call, full);
            dropped_ += drop;
            partial_.stats.dropped += drop;
            plan = plan_context(policies_, held(), parts(call), scratch_);
        }
        const std::size_t held_before = held().size();
        const Clock::time_point start = Clock::now();
        // Room for all tokens up to the next plan, so that single steps allocate nothing.
        if constexpr (!model_remembers) held_.reserve(plan.wanted.size() + partial_.tokens.capacity() - partial_.tokens.size());
        if (plan.keep < held_before) model_->truncate(plan.keep);
        if constexpr (!model_remembers) held_.resize(plan.keep);
        left_ = plan.keep;
        const std::span<const float> logits = evaluate(plan.feed, call.options.stop);
        const double seconds = since(start);
        // Room for the plan of a window that fills up before the next retrieval.
        if (partial_.tokens.capacity() - partial_.tokens.size() > window - left_) scratch_.wanted.reserve(window + 1);

        const TokenCounts counts{left_, left_ - plan.keep, plan.keep, held_before - plan.keep};
        partial_.stats.seconds.prefill += seconds;
        partial_.stats.counts += counts;
        if (retrieval) {
            retrieval->counts = counts;
            retrieval->seconds += seconds;
        }
        return {logits};
    }

    Outcome refuse(const Call& call, const FullWindow& full) const {
        if (partial_.stats.counts.requested > 0) return {{}, StopReason::window_full};
        FLASHBACK_THROW(ErrorCode::window, "the window of the model holds ", full.window,
                        " tokens, but the first context needs ", full.wanted, ": ", call.head.size(), " of the head, ",
                        full.context, " of the prompt and ", scratch_.documents.size(), " of retrieved passages");
    }

    Outcome evaluate_newest(const Call& call) {
        check_same_model();
        check_untouched();
        if (held().size() >= window_of(*model_)) return follow(call);
        const Clock::time_point start = Clock::now();
        const std::span<const float> logits = evaluate(TokenSpan{context_}.last(1), call.options.stop);
        partial_.stats.seconds.decode += since(start);
        if (!logits.empty()) partial_.stats.counts += {1, 1, 0, 0};
        return {logits};
    }

    /// No logits if a stop was requested meanwhile; then the model may hold a part of the tokens.
    std::span<const float> evaluate(TokenSpan tokens, const std::stop_token& stop) {
        std::span<const float> logits;
        if constexpr (InterruptibleModel<Model>) {
            logits = model_->evaluate(tokens, stop);
        } else {
            logits = model_->evaluate(tokens);
        }
        const std::size_t asked = tokens.size();
        if (logits.empty()) {  // what was evaluated all the same is held
            const auto size = static_cast<std::size_t>(model_->size());
            tokens = tokens.first(size > left_ ? std::min(size - left_, asked) : 0);
        }
        if constexpr (!model_remembers) append(held_, tokens);
        left_ += tokens.size();
        if (logits.empty() && !(InterruptibleModel<Model> && stop.stop_requested()))
            FLASHBACK_THROW(ErrorCode::logits, "the model gave no logits for ", asked, " tokens");
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
    std::span<const float> taken_from_;  // the logits that the newest token was taken from
    std::size_t retrieved_at_ = 0;
    std::size_t dropped_ = 0;                   // oldest tokens of the context that are no longer read
    std::size_t left_ = 0;                      // size of the model as this decoder left it
    std::optional<std::uint64_t> fingerprint_;  // of the model when it was last used; none before the first generation
};

}  // namespace flashback::inline FLASHBACK_ISA

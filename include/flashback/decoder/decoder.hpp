/// \file The loop over one model and one retriever: schedule, query, retrieve, plan, evaluate, sample.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/detail/driven_model.hpp"
#include "flashback/decoder/detail/on_token.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/decoder/pass.hpp"
#include "flashback/fwd.hpp"

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Generates text, and retrieves while it does. It refers to the model and the retriever, which must outlive it, and holds the
/// policies.
///
/// It works with every LanguageModel, ours or another engine's. Between two calls the model keeps its cache, and the next call
/// reuses as much of it as its own plan allows. A Generator is the same loop for programs that drive it themselves.
template <class Model, class RetrieverT, class PoliciesT>
class Decoder {
    static_assert(checked_model<Model>());
    static_assert(checked_retriever<RetrieverT>());
    static_assert(
        PolicySet<PoliciesT>,
        "flashback: the policies of a Decoder are a Policies, or have its members, with policies that fit: schedule, query, "
        "wrapper, layout, reuse, sampler, overflow, stopping, reset, rewind, wants_surprisals");

public:
    /// Refers to a model and a retriever, holds the policies, and calls none of them yet.
    /// Requires  a model without `tokens()` is empty when the first generation starts
    Decoder(Model& model, RetrieverT& retriever, PoliciesT policies = {})
        : model_(model), retriever_(&retriever), generator_(std::move(policies)) {}

    /// The policies, each with the memory that it has now.
    PoliciesT& policies() noexcept { return generator_.policies(); }

    /// Continues a prompt, which is given without BOS.
    /// Throws    Error{window} if head, prompt and the first passages are longer than the model's window and nothing may be
    ///           dropped; Error{contract} if all three are empty, if a policy breaks its contract, if something else changed
    ///           the size of the model (between two single steps; at any time if it has no `tokens()`, but it may be emptied
    ///           between two generations), or if the fingerprint of a FingerprintedModel changed while it held tokens;
    ///           Error{engine} if the model does not do what its members say; Error{logits}; what model, retriever and policies
    ///           throw. Then `partial()` has what was generated, and the model holds what it says it holds.
    /// Cost      at most max_tokens evaluations, and one for each token that a schedule takes back; allocates only at the start
    ///           and at retrievals, if the model does
    Generation generate(TokenSpan prompt, const GenerateOptions& options = {}) {
        return generate(prompt, options, [](TokenId) { return true; });
    }

    /// Continues a prompt and hands each token to `on_token(token)`; if that returns false, the generation is cancelled. If
    /// it has a member `rewind(n)`, that is told when a schedule takes the newest n tokens back; a member
    /// `planned(const CarriedOutPlan&)` is told after each plan what was kept and what was evaluated.
    template <std::invocable<TokenId> OnToken>
    Generation generate(TokenSpan prompt, const GenerateOptions& options, OnToken&& on_token) {
        start(prompt, options);
        EndBranches guard{&model_};  // also if the model throws
        while (const std::optional<Pass<Model>> pass = advance(on_token)) evaluated(model_.evaluate(*pass));
        return take();
    }

    /// Begins to continue a prompt, for a caller who evaluates: `while (auto pass = d.advance(on_token)) d.evaluated(logits);`, where
    /// each model of the pass was given its tokens and gave its row of logits. A DecoderGroup does that for several decoders at once.
    /// Requires  the decoder is neither moved nor copied until the generation ends
    /// Throws    as `generate`
    void start(TokenSpan prompt, const GenerateOptions& options = {}) {
        const Generation last = generator_.take();  // the prompt may view it
        retriever_work_ = work_of(*retriever_);
        model_.start(generator_, prompt, options);
    }

    /// Searches, cuts the model, hands tokens out, until it needs tokens to be evaluated. Nothing if the generation ended.
    /// Throws    as `generate`
    template <std::invocable<TokenId> OnToken>
    std::optional<Pass<Model>> advance(OnToken&& on_token) {
        static_assert(detail::checked_on_token<members::Unwrapped<std::remove_reference_t<OnToken>>>());
        EndBranches guard{&model_};
        if constexpr (detail::HearsPlans<members::Unwrapped<std::remove_reference_t<OnToken>>>) {
            if (generator_.carried_out_plan()) members::unwrap(on_token).planned(generator_.newest_plan());
        }
        for (Need need = generator_.need(); need.kind != Need::Kind::done; need = generator_.need()) {
            if (need.kind == Need::Kind::evaluate) {
                const Pass<Model> pass = model_.pass(need, generator_);
                guard.model = nullptr;
                return pass;
            }
            answer(need, on_token);
            count_work();
        }
        return {};
    }

    /// Goes on with the logits after the tokens that `advance` gave.
    /// Throws    as `generate`
    void evaluated(std::span<const float> logits) {
        EndBranches guard{&model_};
        model_.evaluated(generator_, logits);
        count_work();
        guard.model = nullptr;
    }

    /// Ends the generation now, with what it has.
    void cancel() {
        generator_.cancel();
        model_.close();
    }

    /// What was generated since `start`; its branches end.
    Generation take() {
        model_.close();
        return generator_.take();
    }

    /// The model that this decoder drives.
    Model& model() noexcept { return model_.model(); }

    /// What the last call of `generate` had done when it threw.
    const Generation& partial() const noexcept { return generator_.result(); }

private:
    /// Ends branches, unless it is told to let them be: when a generation ends, or an error does.
    struct EndBranches {
        explicit EndBranches(detail::DrivenModel<Model>* its) noexcept : model(its) {}
        EndBranches(const EndBranches&) = delete;
        EndBranches& operator=(const EndBranches&) = delete;
        ~EndBranches() {
            if (model != nullptr) model->close();
        }

        detail::DrivenModel<Model>* model;
    };

    /// Does what the generator needs, other than an evaluation.
    template <class OnToken>
    void answer(const Need& need, OnToken& on_token) {
        switch (need.kind) {
            case Need::Kind::search: {
                auto&& found = retriever_->retrieve(need.query, need.passages);
                model_.searched(generator_);
                generator_.found(found);
                break;
            }
            case Need::Kind::prefetch:
                if constexpr (PrefetchingRetriever<RetrieverT>) retriever_->prefetch(need.query, need.passages);
                generator_.resume();
                break;
            case Need::Kind::rewind:
                detail::tell_rewind(on_token, need.length);
                generator_.resume();
                break;
            case Need::Kind::token: detail::tell_token(on_token, need.token) ? generator_.resume() : generator_.cancel(); break;
            default: model_.answer(need, generator_);
        }
    }

    void count_work() { model_.count_work(generator_, work_of(*retriever_) - retriever_work_); }

    detail::DrivenModel<Model> model_;
    RetrieverT* retriever_;
    Generator<PoliciesT> generator_;
    std::size_t retriever_work_ = 0;  // when the generation started
};

}  // namespace flashback::inline FLASHBACK_ISA

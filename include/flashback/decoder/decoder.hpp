/// \file The loop over one model and one retriever: schedule, query, retrieve, plan, evaluate, sample.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/branches.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Whether what is handed the tokens wants to hear which are taken back.
template <class OnToken>
concept HearsRewinds = requires(OnToken& on_token, std::size_t tokens) {
    on_token.rewind(tokens);
};

/// Refuses, in words, what tokens cannot be handed to.
template <class OnToken>
constexpr bool checked_on_token() {
    using Result = std::invoke_result_t<OnToken&, TokenId>;
    static_assert(std::same_as<std::remove_cvref_t<Result>, bool> || !std::is_scalar_v<std::remove_cvref_t<Result>>,
                  "flashback: on_token(TokenId) must return nothing, or bool: false cancels the generation");
    static_assert(!members::NamesRewind<OnToken> || HearsRewinds<OnToken>,
                  "flashback: rewind of on_token is called as rewind(std::size_t tokens) when tokens are taken back: this one "
                  "cannot be");
    return true;
}

}  // namespace detail

/// What a decoder needs evaluated: in its model, or in each branch of it if there are several. It fits
/// `Model::evaluate_each(models, tokens)`.
template <class Model>
struct Pass {
    std::span<Model* const> models;
    std::span<const TokenSpan> tokens;  ///< for each model, after what it holds
};

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
        : model_(&model), retriever_(&retriever), generator_(std::move(policies)), is_end_{&model}, attention_{&model} {}

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
    /// it has a member `rewind(n)`, that is told when a schedule takes the newest n tokens back.
    template <std::invocable<TokenId> OnToken>
    Generation generate(TokenSpan prompt, const GenerateOptions& options, OnToken&& on_token) {
        start(prompt, options);
        EndBranches guard{&branches_};  // also if the model throws
        while (const std::optional<Pass<Model>> pass = advance(on_token)) evaluated(evaluate(*pass));
        return take();
    }

    /// Begins to continue a prompt, for a caller who evaluates: `while (auto pass = d.advance(on_token)) d.evaluated(logits);`, where
    /// each model of the pass was given its tokens and gave its row of logits. A DecoderGroup does that for several decoders at once.
    /// Requires  the decoder is neither moved nor copied until the generation ends
    /// Throws    as `generate`
    void start(TokenSpan prompt, const GenerateOptions& options = {}) {
        const Generation last = generator_.take();  // the prompt may view it
        branches_.close();
        check_same_model();
        check_untouched_since_last();
        stop_ = options.stop;
        model_work_ = work_of(*model_);
        retriever_work_ = work_of(*retriever_);
        generator_.start(prompt, options,
                         {.vocab_size = static_cast<std::size_t>(model_->vocab_size()),
                          .window = window_of(*model_),
                          .head = head_of(*model_),
                          .is_end = is_end_,
                          .holds_blocks = BlockModel<Model>,
                          .branches = BranchingModel<Model>,
                          .rotates = can_evict()});
    }

    /// Searches, cuts the model, hands tokens out, until it needs tokens to be evaluated. Nothing if the generation ended.
    /// Throws    as `generate`
    template <std::invocable<TokenId> OnToken>
    std::optional<Pass<Model>> advance(OnToken&& on_token) {
        static_assert(detail::checked_on_token<members::Unwrapped<std::remove_reference_t<OnToken>>>());
        EndBranches guard{&branches_};
        for (Need need = generator_.need(); need.kind != Need::Kind::done; need = generator_.need()) {
            if (need.kind == Need::Kind::evaluate) {
                check_untouched();
                guard.branches = nullptr;
                return pass(need);
            }
            answer(need, on_token);
            count_work();
        }
        return {};
    }

    /// Goes on with the logits after the tokens that `advance` gave.
    /// Throws    as `generate`
    void evaluated(std::span<const float> logits) {
        EndBranches guard{&branches_};
        generator_.evaluated(logits, size(), attention());
        count_work();
        guard.branches = nullptr;
    }

    /// Ends the generation now, with what it has.
    void cancel() {
        generator_.cancel();
        branches_.close();
    }

    /// What was generated since `start`; its branches end.
    Generation take() {
        branches_.close();
        return generator_.take();
    }

    Model& model() noexcept { return *model_; }

    /// What the last call of `generate` had done when it threw.
    const Generation& partial() const noexcept { return generator_.result(); }

private:
    /// Ends branches, unless it is told to let them be: when a generation ends, or an error does.
    struct EndBranches {
        explicit EndBranches(BranchesOrNone<Model>* its) noexcept : branches(its) {}
        EndBranches(const EndBranches&) = delete;
        EndBranches& operator=(const EndBranches&) = delete;
        ~EndBranches() {
            if (branches != nullptr) branches->close();
        }

        BranchesOrNone<Model>* branches;
    };

    static constexpr bool model_remembers = RemembersTokens<Model>;

    /// Does what the generator needs, other than an evaluation.
    template <class OnToken>
    void answer(const Need& need, OnToken& on_token) {
        switch (need.kind) {
            case Need::Kind::search: {
                auto&& found = retriever_->retrieve(need.query, need.passages);
                check_same_model();
                if constexpr (model_remembers) tell_held();
                generator_.found(found);
                break;
            }
            case Need::Kind::prefetch:
                if constexpr (PrefetchingRetriever<RetrieverT>) retriever_->prefetch(need.query, need.passages);
                generator_.resume();
                break;
            case Need::Kind::rewind:
                if constexpr (detail::HearsRewinds<members::Unwrapped<OnToken>>) members::unwrap(on_token).rewind(need.length);
                generator_.resume();
                break;
            case Need::Kind::evict:
                if constexpr (RotatingModel<Model>) {
                    check_untouched();
                    model_->evict(need.first, need.length);
                    generator_.evicted(size());
                    check_held();
                }
                break;
            case Need::Kind::truncate:
                check_untouched();
                model_->truncate(need.length);
                generator_.truncated(size());
                check_held();
                break;
            case Need::Kind::see:
                if constexpr (BlockModel<Model>) {
                    check_untouched();
                    generator_.seen(see_passages(*model_, need.beside, need.length));
                }
                break;
            case Need::Kind::branch: branch(need); break;
            case Need::Kind::token:
                if constexpr (std::convertible_to<std::invoke_result_t<OnToken&, TokenId>, bool>) {
                    on_token(need.token) ? generator_.resume() : generator_.cancel();
                } else {
                    on_token(need.token);
                    generator_.resume();
                }
                break;
            case Need::Kind::evaluate:
            case Need::Kind::done: break;
        }
    }

    bool can_evict() const {
        if constexpr (RotatingModel<Model>) {
            return model_->can_evict();
        } else {
            return false;
        }
    }

    /// What the model read, if a policy wants to know: one model, not its branches.
    ModelAttention attention() const {
        if constexpr (AttentiveModel<Model>) {
            if (generator_.wants_attention() && branches_.size() == 0)
                return {static_cast<std::size_t>(model_->layers()), attention_};
        }
        return {};
    }

    std::size_t size() const { return static_cast<std::size_t>(model_->size()); }

    void count_work() {
        const std::size_t all = work_of(*model_) - model_work_;
        std::size_t asked = generator_.result().stats.counts.evaluated;
        for (const TokenCounts& branch : generator_.result().stats.branches) asked -= branch.evaluated;  // not by this model
        generator_.count_work(all > asked ? all - asked : 0, work_of(*retriever_) - retriever_work_);
    }

    void branch(const Need& need) {
        if constexpr (BranchingModel<Model>) {
            check_untouched();
            if (need.branches.empty()) {
                branches_.close();
                generator_.branched({});
            } else {
                generator_.branched(branches_.open(*model_, need.branches, need.length));
            }
        }
    }

    Pass<Model> pass(const Need& need) {
        if constexpr (BranchingModel<Model>) {
            if (!need.each.empty()) return {branches_.models(), need.each};
        }
        tokens_ = need.tokens;
        return {{&model_, 1}, {&tokens_, 1}};
    }

    std::span<const float> evaluate(const Pass<Model>& pass) {
        if constexpr (BranchingModel<Model>) {
            if (pass.models.front() != model_) return branches_.evaluate(pass.tokens);
        }
        if constexpr (InterruptibleModel<Model>) {
            return model_->evaluate(pass.tokens.front(), stop_);
        } else {
            return model_->evaluate(pass.tokens.front());
        }
    }

    // What a model without tokens() holds is known only if nothing else changed it, or if it is empty.
    void check_untouched_since_last() {
        if constexpr (model_remembers) {
            if constexpr (BlockModel<Model>) {
                // It may have been let see passages for tokens that it was never given.
                if (model_->plain_size() == model_->size()) model_->truncate(size());
            }
            tell_held();
        } else {
            if (size() == 0) generator_.holds({});
            check_untouched();
        }
    }

    void tell_held() {
        if constexpr (BlockModel<Model>) {
            generator_.holds(model_->tokens(), static_cast<std::size_t>(model_->plain_size()));
        } else {
            generator_.holds(model_->tokens());
        }
    }

    void check_untouched() {
        check_same_model();
        FLASHBACK_ASSERT(size() == generator_.held().size(), "the model holds ", size(), " tokens, but this decoder left ",
                         generator_.held().size(),
                         " in it: something else changed it, and its cache cannot be trusted; truncate it to 0, and the next "
                         "generation evaluates everything anew");
    }

    // A model that knows its tokens must have kept the right ones.
    void check_held() const {
        if constexpr (model_remembers) {
            const TokenSpan tokens = model_->tokens();
            if (!std::ranges::equal(tokens, generator_.held())) {
                FLASHBACK_THROW(ErrorCode::engine, "the tokens of the model are not those that it held at its first ",
                                generator_.held().size(), " positions before it was cut to them");
            }
        }
    }

    // Positions that were evaluated with other weights, another adapter or another rounding are of no use to this model.
    void check_same_model() {
        if constexpr (FingerprintedModel<Model>) {
            const std::uint64_t now = model_->fingerprint();
            FLASHBACK_ASSERT(
                !fingerprint_ || *fingerprint_ == now || size() == 0, "the model has the fingerprint ", now,
                ", but this decoder filled its cache when it was ", *fingerprint_,
                ": weights, adapter or element of the cache have changed, and it cannot be reused; truncate it to 0, and "
                "everything is evaluated anew");
            fingerprint_ = now;
        }
    }

    struct IsEnd {
        Model* model;
        bool operator()(TokenId token) const { return is_end_of(*model, token); }
    };

    struct ReadAttention {
        Model* model;
        AttentionWeights operator()(std::size_t layer) const requires AttentiveModel<Model> { return model->attention(layer); }
    };

    Model* model_;
    RetrieverT* retriever_;
    Generator<PoliciesT> generator_;
    FLASHBACK_NO_UNIQUE_ADDRESS BranchesOrNone<Model> branches_;
    TokenSpan tokens_;  // of a pass of the model alone
    IsEnd is_end_;      // the generator refers to these two
    ReadAttention attention_;
    std::optional<std::uint64_t> fingerprint_;  // of the model when it was last used; none before the first generation
    std::stop_token stop_;
    std::size_t model_work_ = 0;  // of model and retriever, when the generation started
    std::size_t retriever_work_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

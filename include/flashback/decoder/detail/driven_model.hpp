/// \file The model of a decoder: what a generator needs of it, and whether it is still what the generator takes it for.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/need.hpp"
#include "flashback/decoder/pass.hpp"
#include "flashback/policy/branches.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A model, which lives elsewhere, and the branches of it that a generator asked for.
template <class Model>
class DrivenModel {
public:
    static constexpr bool remembers = RemembersTokens<Model>;

    explicit DrivenModel(Model& model) : model_(&model), is_end_{&model}, attention_{&model} {}

    Model& model() noexcept { return *model_; }
    std::size_t size() const { return static_cast<std::size_t>(model_->size()); }

    /// Starts a generation, with what the model is found to hold.
    /// Requires  this object stays where it is until the generation ends
    template <class GeneratorT>
    void start(GeneratorT& generator, TokenSpan prompt, const GenerateOptions& options) {
        branches_.close();
        check_same_model();
        check_untouched_since_last(generator);
        stop_ = options.stop;
        work_ = work_of(*model_);
        generator.start(prompt, options,
                        {.vocab_size = static_cast<std::size_t>(model_->vocab_size()),
                         .window = window_of(*model_),
                         .head = head_of(*model_),
                         .is_end = is_end_,
                         .holds_blocks = BlockModel<Model>,
                         .branches = BranchingModel<Model>,
                         .rotates = can_evict_of(*model_)});
    }

    /// Does what a generator needs of its model, other than an evaluation; nothing if that is something else.
    template <class GeneratorT>
    void answer(const Need& need, GeneratorT& generator) {
        switch (need.kind) {
            case Need::Kind::evict:
                if constexpr (RotatingModel<Model>) {
                    check_untouched(generator);
                    model_->evict(need.first, need.length);
                    generator.evicted(size());
                    check_held(generator);
                }
                break;
            case Need::Kind::truncate:
                check_untouched(generator);
                model_->truncate(need.length);
                generator.truncated(size());
                check_held(generator);
                break;
            case Need::Kind::see:
                if constexpr (BlockModel<Model>) {
                    check_untouched(generator);
                    generator.seen(see_passages(*model_, need.beside, need.length));
                }
                break;
            case Need::Kind::branch: branch(need, generator); break;
            default: break;
        }
    }

    /// What is to be evaluated.
    template <class GeneratorT>
    flashback::Pass<Model> pass(const Need& need, GeneratorT& generator) {
        check_untouched(generator);
        if constexpr (BranchingModel<Model>) {
            if (!need.each.empty()) return {branches_.models(), need.each};
        }
        tokens_ = need.tokens;
        return {{&model_, 1}, {&tokens_, 1}};
    }

    std::span<const float> evaluate(const flashback::Pass<Model>& pass) {
        if constexpr (BranchingModel<Model>) {
            if (pass.models.front() != model_) return branches_.evaluate(pass.tokens);
        }
        if constexpr (InterruptibleModel<Model>) {
            return model_->evaluate(pass.tokens.front(), stop_);
        } else {
            return model_->evaluate(pass.tokens.front());
        }
    }

    template <class GeneratorT>
    void evaluated(GeneratorT& generator, std::span<const float> logits) {
        generator.evaluated(logits, size(), attention(generator));
    }

    /// Ends the branches.
    void close() noexcept { branches_.close(); }

    /// A model that holds blocks may have been let see some for tokens that it was never given.
    void forget_seen() {
        if constexpr (BlockModel<Model>) {
            if (model_->plain_size() == model_->size()) model_->truncate(size());
        }
    }

    /// A retriever was asked, and may have used the model.
    template <class GeneratorT>
    void searched(GeneratorT& generator) {
        check_same_model();
        if constexpr (remembers) tell_held(generator);
    }

    /// Counts what the model evaluated without being asked for.
    template <class GeneratorT>
    void count_work(GeneratorT& generator, std::size_t of_retriever) {
        const std::size_t all = work_of(*model_) - work_;
        std::size_t asked = generator.result().stats.counts.evaluated;
        for (const TokenCounts& branch : generator.result().stats.branches) asked -= branch.evaluated;  // not by this model
        generator.count_work(all > asked ? all - asked : 0, of_retriever);
    }

private:
    /// What the model read, if a policy wants to know: one model, not its branches.
    template <class GeneratorT>
    ModelAttention attention(const GeneratorT& generator) const {
        if constexpr (AttentiveModel<Model>) {
            if (generator.wants_attention() && branches_.size() == 0)
                return {static_cast<std::size_t>(model_->layers()), attention_};
        }
        return {};
    }

    template <class GeneratorT>
    void branch(const Need& need, GeneratorT& generator) {
        if constexpr (BranchingModel<Model>) {
            check_untouched(generator);
            if (need.branches.empty()) {
                branches_.close();
                generator.branched({});
            } else {
                generator.branched(branches_.open(*model_, need.branches, need.length));
            }
        }
    }

    // What a model without tokens() holds is known only if nothing else changed it, or if it is empty.
    template <class GeneratorT>
    void check_untouched_since_last(GeneratorT& generator) {
        if constexpr (remembers) {
            forget_seen();
            tell_held(generator);
        } else {
            if (size() == 0) generator.holds({});
            check_untouched(generator);
        }
    }

    template <class GeneratorT>
    void tell_held(GeneratorT& generator) {
        if constexpr (BlockModel<Model>) {
            generator.holds(model_->tokens(), static_cast<std::size_t>(model_->plain_size()));
        } else {
            generator.holds(model_->tokens());
        }
    }

    template <class GeneratorT>
    void check_untouched(const GeneratorT& generator) {
        check_same_model();
        FLASHBACK_ASSERT(size() == generator.held().size(), "the model holds ", size(), " tokens, but this decoder left ",
                         generator.held().size(),
                         " in it: something else changed it, and its cache cannot be trusted; truncate it to 0, and the next "
                         "generation evaluates everything anew");
    }

    // A model that knows its tokens must have kept the right ones.
    template <class GeneratorT>
    void check_held(const GeneratorT& generator) const {
        if constexpr (remembers) {
            const TokenSpan tokens = model_->tokens();
            if (!std::ranges::equal(tokens, generator.held())) {
                FLASHBACK_THROW(ErrorCode::engine, "the tokens of the model are not those that it held at its first ",
                                generator.held().size(), " positions before it was cut to them");
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
    FLASHBACK_NO_UNIQUE_ADDRESS BranchesOrNone<Model> branches_;
    TokenSpan tokens_;  // of a pass of the model alone
    IsEnd is_end_;      // the generator refers to these two
    ReadAttention attention_;
    std::optional<std::uint64_t> fingerprint_;  // of the model when it was last used; none before the first generation
    std::stop_token stop_;
    std::size_t work_ = 0;  // of the model, when the generation started
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

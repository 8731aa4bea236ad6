/// \file How likely a model finds the tokens of strides, after their contexts and passages.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/policy/branches.hpp"
#include "flashback/policy/carry_out.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/fusion.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What is scored.
struct StrideText {
    TokenSpan text;
    const RetrievedStrides* strides;
    StrideLayout layout;
    TokenSpan masked;
    const OpenIds* open;
};

/// Evaluates runs of strides, each from an empty cache, so that no count depends on which model evaluates which run.
template <LanguageModel Model, class P>
class StrideScorer {
    using Fusion = std::remove_cvref_t<decltype(fusion_of(std::declval<const P&>()))>;
    static_assert(std::copy_constructible<Fusion>,
                  "flashback: a perplexity copies the DocumentFusion, for each model: this one cannot be");

public:
    StrideScorer(Model& model, const P& policies, const StrideText& its) : model_(&model), policies_(&policies), its_(its) {}

    /// The nats of the tokens of a run.
    /// Shape     nats: (count, stride) row-major
    void score(std::size_t first, std::size_t count, std::span<double> nats) {
        model_->truncate(0);
        held_.clear();
        held_plain_ = written_ = 0;
        end_branches();
        fusion_.emplace(fusion_of(*policies_));
        const std::size_t stride = its_.strides->stride();
        for (std::size_t i = 0; i < count; ++i) score_one((*its_.strides)[first + i], nats.subspan(i * stride, stride));
        end_branches();
    }

    const TokenCounts& counts() const noexcept { return counts_; }
    const std::vector<TokenCounts>& branches() const noexcept { return branch_counts_; }

private:
    void score_one(const RetrievedStride& stride, std::span<double> nats) {
        const TokenSpan targets = its_.text.subspan(stride.at, its_.strides->stride());
        const TokenSpan read = targets.first(targets.size() - 1);  // the last token is predicted, and nothing after it
        const StridePlan plan = plan_stride(*policies_, held_, {its_.text, stride, targets.size(), held_plain_, written_},
                                            its_.layout, scratch_, standing_);
        if (plan.branches()) {
            score_branches(plan.fused, stride, read, nats);
        } else {
            counts_.discarded += discarded_of(standing_, {}, plan.text.wanted);
            end_branches();
            score_text(plan.text, stride.at, read, nats);
        }
    }

    void score_text(const ContextPlan& plan, std::size_t at, TokenSpan read, std::span<double> nats) {
        const std::size_t held_before = held_.size();
        const CarriedOut done = carry_out(*model_, plan, its_.layout.head.size());
        nats[0] = nats_of(at, done.logits);
        after_each(*model_, read,
                   [&](std::size_t j, std::span<const float> logits) { nats[j + 1] = nats_of(at + j + 1, logits); });
        held_.assign(plan.wanted.begin(), plan.wanted.end());
        append(held_, read);
        written_ = read.size();
        held_plain_ = plan.plain_after(held_plain_);
        counts_ += {held_.size(), held_.size() - plan.keep, plan.keep, held_before - plan.keep};
        const std::size_t beside = plan.beside.empty() ? 0 : scratch_.text.wrapped.size();
        counts_ += {beside, done.beside, beside - std::min(done.beside, beside), 0};
    }

    void score_branches(const FusedPlan& plan, const RetrievedStride& stride, TokenSpan read, std::span<double> nats) {
        if constexpr (BranchingModel<Model>) {
            const std::size_t count = plan.branches.size();
            model_->truncate(plan.keep);
            if (!plan.feed.empty()) static_cast<void>(model_->evaluate(plan.feed));
            counts_ += {plan.wanted.size(), plan.feed.size(), plan.keep,
                        held_.size() - plan.keep + discarded_of(standing_, plan.branches, plan.wanted)};
            held_.assign(plan.wanted.begin(), plan.wanted.end());
            held_plain_ = held_.size();
            written_ = 0;
            const std::span<const std::size_t> beside = branches_.open(*model_, plan.branches, its_.layout.head.size());
            standing_.assign(count, {});
            branch_counts_.resize(std::max(branch_counts_.size(), count));
            tokens_.clear();
            for (std::size_t i = 0; i < count; ++i) {
                const ContextPlan& its = plan.branches[i].plan;
                tokens_.push_back(plan.branches[i].fed());
                standing_[i].tokens.assign(its.wanted.begin(), its.wanted.end());
                append(standing_[i].tokens, read);
                standing_[i].saw = its.sees;
                const std::size_t all = its.beside.empty() ? 0 : scratch_.fused.each[i].wrapped.size();
                count_branch(i, {standing_[i].tokens.size() + all, standing_[i].tokens.size() - its.keep + beside[i],
                                 its.keep + all - std::min(beside[i], all), 0});
            }
            begin_fusion(*fusion_, stride.scores);
            const std::span<const float> first = branches_.evaluate(tokens_);
            const std::size_t vocab = vocab_size();
            check_logits(first.size(), count);
            rows_.resize((read.size() + 1) * count * vocab);  // those of the branches after each token
            std::ranges::copy(first, rows_.begin());
            for (std::size_t i = 0; i < count; ++i) {
                after_each(*branches_.models()[i], read, [&](std::size_t j, std::span<const float> logits) {
                    std::ranges::copy(logits, rows_.begin() + static_cast<std::ptrdiff_t>(((j + 1) * count + i) * vocab));
                });
            }
            mask_rows(rows_, vocab, its_.masked);
            fused_.resize(vocab);
            for (std::size_t j = 0; j <= read.size(); ++j) {
                const LogitRows rows{std::span{rows_}.subspan(j * count * vocab, count * vocab), vocab};
                fuse_logits(*fusion_, rows, fused_);
                nats[j] = nats_of(stride.at + j, fused_);
                tell_fusion(*fusion_, rows, its_.text[stride.at + j]);
            }
        } else {
            FLASHBACK_THROW(ErrorCode::contract, "a fusion of passages in ", plan.branches.size(),
                            " branches needs a model that can be forked (BranchingModel), found one that cannot");
        }
    }

    /// Evaluates tokens and calls `visit(j, logits)` with the logits after each.
    template <class Visit>
    void after_each(Model& model, TokenSpan read, const Visit& visit) const {
        const std::size_t vocab = vocab_size();
        if constexpr (ScoringModel<Model>) {
            if (read.empty()) return;
            const std::span<const float> logits = model.evaluate_all(read);
            check_logits(logits.size(), read.size());
            for (std::size_t j = 0; j < read.size(); ++j) visit(j, logits.subspan(j * vocab, vocab));
        } else {
            for (std::size_t j = 0; j < read.size(); ++j) {
                const std::span<const float> logits = model.evaluate(read.subspan(j, 1));
                check_logits(logits.size(), 1);
                visit(j, logits);
            }
        }
    }

    double nats_of(std::size_t index, std::span<const float> logits) const {
        check_logits(logits.size(), 1);
        const TokenScore score = score_of(index, its_.text[index], logits, facts_of(logits, *its_.open));
        check_score(score);
        return score.nats;
    }

    void check_logits(std::size_t found, std::size_t tokens) const {
        if (found != tokens * vocab_size()) {
            FLASHBACK_THROW(ErrorCode::logits, "the model gave ", found, " logits for ", tokens, " tokens, expected ",
                            vocab_size(), " for each");
        }
    }

    std::size_t vocab_size() const { return static_cast<std::size_t>(model_->vocab_size()); }

    void count_branch(std::size_t branch, TokenCounts counts) {
        branch_counts_[branch] += counts;
        counts_ += counts;
    }

    void end_branches() {
        branches_.close();
        standing_.clear();
    }

    Model* model_;
    const P* policies_;
    StrideText its_;
    std::optional<Fusion> fusion_;  // each run has a new copy, so that no digit depends on who measures which
    TokenBuffer held_;
    std::size_t held_plain_ = 0;  // how many of them saw no passages beside the text
    std::size_t written_ = 0;     // how many of the newest are those of the last stride
    BranchesOrNone<Model> branches_;
    std::vector<HeldBranch> standing_;
    std::vector<TokenSpan> tokens_;
    std::vector<float> rows_;
    std::vector<float> fused_;
    StrideScratch scratch_;
    TokenCounts counts_;
    std::vector<TokenCounts> branch_counts_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

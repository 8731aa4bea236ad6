/// \file Models that branch off another, carried along with it.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/branch_plan.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A model whose forks are of its own type.
template <class M>
concept BranchingModel = ForkableModel<M> && requires(const M& model) {
    { model.fork() } -> std::same_as<M>;
};

/// The branches of a model, one for each group of passages.
template <class Model>
class Branches {
    static_assert(BranchingModel<Model>, "flashback: branches are forks of a model, which have its type (BranchingModel)");

public:
    /// Number of branches.
    std::size_t size() const noexcept { return models_.size(); }
    /// The branches, valid until they are opened anew or end.
    std::span<Model* const> models() const noexcept { return views_; }

    /// Makes the branches that plans ask for, in place of those that stand, and lets each see its passages if they stand beside the text;
    /// gives how many tokens each evaluated for that. What each is to evaluate then is `plans[i].fed()`. `head` is the number of tokens of
    /// ContextParts::head.
    /// Requires  the trunk holds what the plans were made for, and the branches what they were given
    /// Throws    what the model throws; then no branch stands
    /// Cost      a fork for each, and what see_passages costs
    std::span<const std::size_t> open(const Model& trunk, std::span<const BranchPlan> plans, std::size_t head) {
        std::vector<std::unique_ptr<Model>> standing = std::move(models_);
        close();
        for (std::size_t j = 0; j < standing.size(); ++j) {  // what nobody continues gives its memory back first
            const bool goes_on = std::ranges::any_of(plans, [&](const BranchPlan& branch) { return branch.from == j; });
            if (!goes_on) standing[j].reset();
        }
        std::vector<std::unique_ptr<Model>> models;
        beside_.assign(plans.size(), 0);
        for (std::size_t i = 0; i < plans.size(); ++i) {
            const ContextPlan& plan = plans[i].plan;
            models.push_back(plans[i].from == BranchPlan::trunk ? std::unique_ptr<Model>{new Model(trunk.fork())}
                                                                : std::move(standing[plans[i].from]));
            Model& model = *models.back();
            model.truncate(plan.keep);
            if constexpr (BlockModel<Model>) {
                if (!plan.sees) continue;
                if (plan.plain > plan.keep) static_cast<void>(model.evaluate(plan.feed.first(plan.plain - plan.keep)));
                beside_[i] = see_passages(model, plan.beside, head);
            }
        }
        models_ = std::move(models);
        for (const auto& model : models_) views_.push_back(model.get());
        return beside_;
    }

    /// Evaluates tokens in each branch, in one pass if the model can do that; gives the logits after the last of each.
    /// Shape     (size(), vocab_size()) row-major
    /// Throws    what the model throws
    std::span<const float> evaluate(std::span<const TokenSpan> tokens) {
        if constexpr (BatchedModel<Model>) {
            return Model::evaluate_each(models(), tokens);
        } else {
            logits_.clear();
            for (std::size_t i = 0; i < size(); ++i) {
                const std::span<const float> row = models_[i]->evaluate(tokens[i]);
                logits_.insert(logits_.end(), row.begin(), row.end());
            }
            return logits_;
        }
    }

    /// Ends all branches.
    void close() noexcept {
        models_.clear();
        views_.clear();
    }

private:
    std::vector<std::unique_ptr<Model>> models_;
    std::vector<Model*> views_;
    std::vector<std::size_t> beside_;
    std::vector<float> logits_;
};

namespace detail {

/// In place of the branches of a model that has none.
struct NoBranches {
    static constexpr void close() noexcept {}
    static constexpr std::size_t size() noexcept { return 0; }
};

template <class Model>
struct ChooseBranches {
    using type = NoBranches;
};
template <BranchingModel Model>
struct ChooseBranches<Model> {
    using type = Branches<Model>;
};
}  // namespace detail

/// The branches of a model; of one that has none, nothing.
template <class Model>
using BranchesOrNone = typename detail::ChooseBranches<Model>::type;

}  // namespace flashback::inline FLASHBACK_ISA

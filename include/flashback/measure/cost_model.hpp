/// \file What a retrieval will take on a machine, said before it runs; and which way, stride and number of passages a budget allows.
///
/// `fit_cost_model` (measure/fit_cost_model.hpp) learns the costs from a sweep over reuse.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/measure/reuse_sweep_counts.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What evaluations consist of, as far as their time goes: it is a sum of these, each times its cost.
struct EvaluatedWork {
    double passes = 0;     ///< evaluations of several tokens at once: each reads all weights
    double few = 0;        ///< the first tokens of each, up to `few_tokens`: the fewer there are, the less each costs
    double tokens = 0;     ///< all their tokens
    double attended = 0;   ///< positions that these attend to, all together
    double steps = 0;      ///< tokens that are evaluated one by one
    double positions = 0;  ///< positions that these attend to, all together

    /// Up to how many tokens of a pass count as few.
    static constexpr std::size_t few_tokens = 32;
    /// How many numbers there are.
    static constexpr std::size_t size = 6;

    /// The numbers, in their order here.
    constexpr std::array<double, size> numbers() const noexcept { return {passes, few, tokens, attended, steps, positions}; }

    /// Adds an evaluation of `count` tokens at once after `before` others, which also sees `beside` positions.
    constexpr void add(std::size_t before, std::size_t count, std::size_t beside = 0) noexcept {
        const auto n = static_cast<double>(count);
        const double seen = n * static_cast<double>(before + beside) + n * (n + 1) / 2;
        if (count == 1) {
            steps += 1;
            positions += seen;
        } else if (count > 1) {
            passes += 1;
            few += static_cast<double>(std::min(count, few_tokens));
            tokens += n;
            attended += seen;
        }
    }

    constexpr bool operator==(const EvaluatedWork&) const = default;
};

/// The work of a retrieval and of the single tokens after it. The passages beside the text, if there are any, are evaluated one by one.
/// Requires  at least one passage
constexpr EvaluatedWork evaluated_work(const RetrievalLengths& lengths, std::size_t passages = 1) noexcept {
    EvaluatedWork work;
    if (!lengths.stored) {
        for (std::size_t i = 0; i < passages; ++i) work.add(0, lengths.beside / passages);
    }
    work.add(lengths.kept, lengths.fed, lengths.beside);
    for (std::size_t i = 0; i < lengths.decoded; ++i) work.add(lengths.kept + lengths.fed + i, 1, lengths.beside);
    return work;
}

/// What work costs for one model, cache and number of threads of a machine.
struct CostModel {
    /// Seconds for each number of EvaluatedWork, in its order.
    std::array<double, EvaluatedWork::size> seconds_each = {};
    /// Seconds of a search, which no sweep measures.
    double search_seconds = 0;

    /// How long work takes.
    constexpr double seconds(const EvaluatedWork& work) const noexcept {
        double sum = 0;
        for (std::size_t i = 0; i < seconds_each.size(); ++i) sum += seconds_each[i] * work.numbers()[i];
        return sum;
    }
};

/// Seconds from one retrieval to the next: the search, the retrieval, and the single tokens after it.
/// Requires  every length is at least 1, and the history at least the stride
constexpr double predict(const CostModel& costs, ReuseWay way, const ReusePoint& at,
                         const ReuseOptions& options = {}) noexcept {
    return costs.search_seconds + costs.seconds(evaluated_work(lengths_of(way, at, options), at.k));
}

/// A way to retrieve, and what it is expected to cost.
struct AdvisedWay {
    ReuseWay way = ReuseWay::append;  ///< where passages stand
    ReusePoint at = {};            ///< stride and number of passages, at the history and with passages as they were asked for
    double seconds_per_token = 0;  ///< for each generated token

    constexpr bool operator==(const AdvisedWay&) const = default;
};

/// What is asked of `advise`.
struct AdviceOptions {
    std::vector<ReuseWay> ways{ReuseWay::aside, ReuseWay::append, ReuseWay::prepend};  ///< among which it may choose
    std::vector<std::size_t> strides = doublings(1, 128);                              ///< likewise
    std::vector<std::size_t> k = doublings(1, 8);                                      ///< likewise, numbers of passages
    std::size_t history = 2048;                                                        ///< tokens of the text
    std::size_t passage = 128;                                                         ///< tokens of a passage
    double seconds_per_token = 0;                                                      ///< the budget
    std::size_t positions =
        std::numeric_limits<std::size_t>::max();  ///< the most that a retrieval may need: the model's window
};

/// What a budget allows.
struct Advice {
    std::optional<AdvisedWay> choice = {};     ///< the best that the budget allows; nothing if it allows none
    std::optional<AdvisedWay> runner_up = {};  ///< the best of another way
    std::optional<AdvisedWay> beyond = {};     ///< the cheapest that would be better than the choice, but is beyond the budget
    std::size_t considered = 0;                ///< how many there are
    std::size_t affordable = 0;                ///< how many of them the budget allows
};

/// Picks the shortest stride that the budget allows; with it, the most passages; and with both, the cheapest way: retrieving more often comes
/// before retrieving more at a time. Behind the text (append) short strides may harm: offer those that `flashback ppl --stride` finds good.
/// Throws    Error{contract} for no ways, strides or numbers of passages, a length of 0, a budget that is no number above 0, or if every
///           stride is longer than the history or nothing fits into the positions
/// Cost      a prediction for each combination
/// Source    In-Context RALM (arXiv 2302.00083): with passages in front, perplexity falls as the stride gets shorter; the rule is ours
inline Advice advise(const CostModel& costs, const AdviceOptions& options) {
    FLASHBACK_ASSERT(options.seconds_per_token > 0, "a budget of ", options.seconds_per_token,
                     " seconds for each token, expected more than 0");
    FLASHBACK_ASSERT(!options.ways.empty() && !options.strides.empty() && !options.k.empty(),
                     "advice needs at least one way, one stride and one number of passages to choose from, found ",
                     options.ways.size(), ", ", options.strides.size(), " and ", options.k.size());
    std::vector<AdvisedWay> all;
    for (const ReuseWay way : options.ways) {
        for (const std::size_t stride : options.strides) {
            for (const std::size_t k : options.k) {
                const ReusePoint at{.history = options.history, .stride = stride, .passage = options.passage, .k = k};
                FLASHBACK_ASSERT(stride > 0 && k > 0 && options.passage > 0 && options.history > 0,
                                 "advice was asked for with a stride, number of passages, passage or history of 0, expected at "
                                 "least 1");
                if (stride <= options.history && at.positions() <= options.positions)
                    all.push_back({way, at, predict(costs, way, at) / static_cast<double>(stride)});
            }
        }
    }
    FLASHBACK_ASSERT(!all.empty(), "with a history of ", options.history, " tokens and passages of ", options.passage,
                     ", every stride is longer than the history, or the model's window of ", options.positions,
                     " positions is too small");
    const auto rank = [](const AdvisedWay& one) {  // the less, the better
        return std::tuple{one.at.stride, -static_cast<double>(one.at.k), one.seconds_per_token};
    };
    std::ranges::stable_sort(all, {}, rank);
    Advice advice{.considered = all.size()};
    for (const AdvisedWay& one : all) {
        if (one.seconds_per_token > options.seconds_per_token) {
            if (!advice.choice && (!advice.beyond || one.seconds_per_token < advice.beyond->seconds_per_token))
                advice.beyond = one;
            continue;
        }
        ++advice.affordable;
        if (!advice.choice) {
            advice.choice = one;
        } else if (!advice.runner_up && one.way != advice.choice->way) {
            advice.runner_up = one;
        }
    }
    return advice;
}

/// Prices in seconds, for `within_budget`: what a retrieval is expected to take beyond the token that is generated anyway, and what was spent.
/// With it the budget is a number of seconds for each generated token. What the model evaluated between two steps is priced as one pass
/// behind the text and, unless they stand beside it, the passages.
class PredictedSeconds {
public:
    /// Requires  `passage` tokens in each of `k` passages, at least 1 each
    PredictedSeconds(const CostModel& costs, ReuseWay way, std::size_t passage, std::size_t k = 1)
        : costs_(costs), way_(way), passage_(passage), k_(k) {
        FLASHBACK_ASSERT(passage > 0 && k > 0, "prices of ", k, " passages of ", passage,
                         " tokens, expected at least 1 of each");
    }

    /// Seconds of a retrieval now.
    double operator()(const StepView& step) const {
        const std::size_t history = std::max<std::size_t>(step.context.size(), 1);
        // The token after it is generated anyway, at the cost of a step.
        const ReusePoint at{.history = history,
                            .stride = std::clamp<std::size_t>(step.since_retrieval, 1, history),
                            .passage = passage_,
                            .k = k_};
        RetrievalLengths lengths = lengths_of(way_, at);
        lengths.decoded = 0;
        EvaluatedWork anyway;
        anyway.add(history - 1, 1, k_ * passage_);
        return costs_.search_seconds + std::max(costs_.seconds(evaluated_work(lengths, k_)) - costs_.seconds(anyway), 0.0);
    }

    /// Seconds that were spent on this generation up to now, as far as the steps tell that were shown here, in their order.
    double spent(const StepView& step) {
        if (step.evaluated < evaluated_ || step.retrievals < retrievals_) {  // another generation
            evaluated_ = retrievals_ = 0;
            spent_ = 0;
        }
        const std::size_t count = step.evaluated - evaluated_;
        const std::size_t held = step.context.size() + (is_aside(way_) ? 0 : k_ * passage_);
        EvaluatedWork work;
        work.add(held - std::min(held, count), count);
        spent_ += costs_.seconds(work) + costs_.search_seconds * static_cast<double>(step.retrievals - retrievals_);
        evaluated_ = step.evaluated;
        retrievals_ = step.retrievals;
        return spent_;
    }

private:
    CostModel costs_;
    ReuseWay way_;
    std::size_t passage_;
    std::size_t k_;
    std::size_t evaluated_ = 0;
    std::size_t retrievals_ = 0;
    double spent_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

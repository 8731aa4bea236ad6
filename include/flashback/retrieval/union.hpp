/// \file Several retrievers as one: keyword search and vectors, say.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <ranges>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Says what the passages of one answer, the best first, are worth: `rule(answer, worth)` writes a number for each. What several retrievers
/// find is worth the sum. A number that is not one is worth 0. Callable when const.
template <class M>
concept MergeRule = requires(const M& rule, std::span<const Passage> answer, std::span<double> worth) {
    rule(answer, worth);
};

/// 1 / (k + rank), where the best passage has rank 1: scores do not matter, so they need not be comparable.
/// Source    Cormack, Clarke and Büttcher 2009, Reciprocal rank fusion outperforms Condorcet and individual rank learning methods; k = 60
class ReciprocalRank {
public:
    /// Throws    Error{contract} unless k is a number of 0 or more
    constexpr explicit ReciprocalRank(double k = 60) : k_(k) {
        FLASHBACK_ASSERT(k >= 0 && k <= std::numeric_limits<double>::max(), "ReciprocalRank needs a k of 0 or more, found ", k);
    }

    void operator()(std::span<const Passage> answer, std::span<double> worth) const noexcept {
        for (std::size_t r = 0; r < answer.size(); ++r) worth[r] = 1 / (k_ + static_cast<double>(r + 1));
    }

private:
    double k_;
};

/// The score, moved and scaled so that the lowest of the answer is 0 and the highest 1. If all are equal, or there is one, that is 1.
/// A score of infinity is 1, of -infinity 0; they and what is not a number, worth 0, leave the others as they are.
/// Source    Fox and Shaw 1994, Combination of multiple searches, CombSUM; normalised as in Lee 1997, Analyses of multiple evidence
///           combination
struct MinMaxScores {
    void operator()(std::span<const Passage> answer, std::span<double> worth) const noexcept;
};

/// What a retriever of a Union is asked for, and what its answers weigh.
struct UnionPartOptions {
    double weight = 1;        ///< >= 0: multiplies the worth of its passages
    std::size_t depth = 100;  ///< it is asked for so many passages, or for k if that is more
};

/// A retriever of a Union, with options.
template <class R>
class UnionPart {
    static_assert(checked_retriever<members::Unwrapped<R>>());

public:
    /// Throws    Error{contract} unless the weight is a number of 0 or more
    explicit UnionPart(R retriever, UnionPartOptions options = {}) : retriever_(std::move(retriever)), options_(options) {
        FLASHBACK_ASSERT(options.weight >= 0 && options.weight <= std::numeric_limits<double>::max(),
                         "the weight of a retriever must be 0 or more, found ", options.weight);
    }

    /// The retriever itself.
    auto& retriever() noexcept { return members::unwrap(retriever_); }
    const auto& retriever() const noexcept { return members::unwrap(retriever_); }
    /// What its part in the merged list is multiplied by.
    double weight() const noexcept { return options_.weight; }
    /// How many passages it is asked for if k are wanted.
    std::size_t depth(std::size_t k) const noexcept { return std::max(k, options_.depth); }

private:
    R retriever_;
    UnionPartOptions options_;
};

namespace detail {

/// The part that a retriever becomes; a part stays what it is.
template <class R>
struct PartOf {
    using type = UnionPart<R>;
    using Retriever = members::Unwrapped<R>;
};
template <class R>
struct PartOf<UnionPart<R>> {
    using type = UnionPart<R>;
    using Retriever = members::Unwrapped<R>;
};

template <class R>
using PartRetriever = typename PartOf<R>::Retriever;

/// Adds up what passages are worth; the same passage counts once in each answer.
class MergedAnswers {
public:
    void clear();

    void add(std::span<const Passage> answer, std::span<const double> worth, double weight);

    /// The k that are worth most; if several are worth the same, in the order in which they were added.
    void best(std::size_t k, std::vector<Passage>& out);

private:
    struct Hit {
        Passage passage;
        double worth;
        std::size_t answer;  // the newest that has it, from 1
    };

    std::unordered_map<std::string, std::size_t> places_;
    std::vector<Hit> hits_;
    std::size_t answers_ = 0;
};

}  // namespace detail

/// Asks several retrievers, and merges what they find by a rule. A passage that several find is one: passages are the same if they have
/// one id, or none but the same text and tokens; it is given as the first retriever gave it, and its score is its worth. If two are worth
/// the same, the one that an earlier retriever found is first, then the one that had the better rank.
///
///     Union both{ReciprocalRank{}, std::ref(bm25), UnionPart{std::ref(vectors), {.weight = 2, .depth = 50}}};
template <class Rule, class... Rs>
class Union : public detail::PassesHints<Union<Rule, Rs...>, (PrefetchingRetriever<detail::PartRetriever<Rs>> || ...)> {
    static_assert(
        MergeRule<Rule>,
        "flashback: the rule of a Union must be callable, when const, as rule(std::span<const Passage>, std::span<double>)");
    static_assert(sizeof...(Rs) > 0, "flashback: a Union needs at least one retriever");
    friend struct detail::PassesHints<Union, true>;

public:
    /// Whether answers depend on Query::context.
    static constexpr bool reads_context = (detail::reads_context_of<detail::PartRetriever<Rs>>() || ...);
    /// Whether answers depend on the queries before.
    static constexpr bool remembers_queries = (detail::remembers_queries_of<detail::PartRetriever<Rs>>() || ...);

    /// Merges what `retrievers` find, by `rule`.
    explicit Union(Rule rule, Rs... retrievers)
        : rule_(std::move(rule)), parts_(typename detail::PartOf<Rs>::type(std::move(retrievers))...) {}

    /// The k passages that are worth most; valid until the next call.
    /// Requires  the retrievers are not one and the same; the query does not view the last answer
    /// Throws    what the retrievers throw
    /// Cost      a search of each, one after the other, and a hash of each id found
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        merged_.clear();
        std::apply([&](auto&... part) { (ask(part, query, k), ...); }, parts_);
        merged_.best(k, found_);
        return found_;
    }

    /// Whether the last answer has a part that is that of a fallback (WithTimeout).
    bool fell_back() const {
        return std::apply([](const auto&... part) { return (detail::fell_back_of(part.retriever()) || ...); }, parts_);
    }

    /// The tokens that models of the retrievers have evaluated, ever.
    std::size_t work() const {
        return std::apply([](const auto&... part) { return (work_of(part.retriever()) + ...); }, parts_);
    }

private:
    template <class Part>
    void ask(Part& part, const Query& query, std::size_t k) {
        auto&& range = part.retriever().retrieve(query, part.depth(k));
        answer_.assign(std::ranges::begin(range), std::ranges::end(range));
        worth_.assign(answer_.size(), 0.0);
        std::as_const(rule_)(std::span<const Passage>{answer_}, std::span<double>{worth_});
        merged_.add(answer_, worth_, part.weight());
    }

    void hint(const Query& query, std::size_t k) {
        const auto one = [&]<class R>(UnionPart<R>& part) {
            if constexpr (PrefetchingRetriever<members::Unwrapped<R>>) part.retriever().prefetch(query, part.depth(k));
        };
        std::apply([&](auto&... part) { (one(part), ...); }, parts_);
    }
    bool hinted() const {
        const auto one = []<class R>(const UnionPart<R>& part) {
            if constexpr (PrefetchingRetriever<members::Unwrapped<R>>) return part.retriever().ready();
            return true;
        };
        return std::apply([&](const auto&... part) { return (one(part) && ...); }, parts_);
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Rule rule_;
    std::tuple<typename detail::PartOf<Rs>::type...> parts_;
    detail::MergedAnswers merged_;
    std::vector<Passage> answer_;
    std::vector<double> worth_;
    std::vector<Passage> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/merge_answers.hpp"
#endif

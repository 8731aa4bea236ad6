/// \file A retriever on the bench: what it is asked, and what it answered at first.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/testing/detail/suite_runner.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// A query that owns what it views.
struct OwnedQuery {
    std::string text = {};
    TokenBuffer tokens = {};

    Query view() const noexcept { return {.tokens = tokens, .text = text, .context = tokens}; }
    /// What a query says in a sentence.
    std::string name() const {
        if (!text.empty()) return "\"" + printable(text) + "\"";
        return words("a query of ", tokens.size(), " tokens");
    }
};

using Answer = std::vector<OwnedPassage>;

template <class Range>
Answer owned(const Range& answer) {
    Answer all;
    for (const Passage& passage : std::span<const Passage>{std::ranges::data(answer), std::ranges::size(answer)})
        all.emplace_back(passage);
    return all;
}

/// In what two passages differ; empty if they are the same.
inline std::string_view difference(const OwnedPassage& a, const Passage& b) {
    if (a.id != b.id) return "id";
    if (a.title != b.title) return "title";
    if (a.text != b.text) return "text";
    if (!std::ranges::equal(a.tokens, b.tokens)) return "tokens";
    return a.score < b.score || a.score > b.score ? "score" : "";
}

inline bool same_passage(const OwnedPassage& a, const Passage& b) { return difference(a, b).empty(); }

/// Whether the answers to one query depend on those before: `static constexpr bool remembers_queries = true` says so.
template <class R>
constexpr bool remembers() {
    if constexpr (requires {
                      { R::remembers_queries } -> std::convertible_to<bool>;
                  }) {
        return R::remembers_queries;
    } else {
        return false;
    }
}

/// Makes retrievers, and knows what they are asked.
template <class MakeRetriever>
class RetrieverBench {
public:
    using Made = std::invoke_result_t<MakeRetriever&>;
    using Subject = std::remove_cvref_t<Made>;

    RetrieverBench(MakeRetriever& make, std::vector<OwnedQuery> queries, std::size_t k)
        : make_(&make), queries_(std::move(queries)), k_(k) {}

    decltype(auto) fresh() { return (*make_)(); }
    const std::vector<OwnedQuery>& queries() const noexcept { return queries_; }
    std::size_t k() const noexcept { return k_; }

    /// Whether an answer is the first that this query ever got; if not, the check fails.
    template <class Range>
    bool same(RunningCheck& check, std::size_t number, const Range& answer, std::string_view when) const {
        const std::span<const Passage> found{std::ranges::data(answer), std::ranges::size(answer)};
        const Answer& expected = first_[number];
        const std::string of = words("the answer to ", queries_[number].name(), " ", when);
        if (!check.expect(found.size() == expected.size(), of, " has ", found.size(), " passages, expected ", expected.size(),
                          ", as at first"))
            return false;
        for (std::size_t i = 0; i < found.size(); ++i) {
            if (same_passage(expected[i], found[i])) continue;
            for (std::size_t other = 0; other < first_.size(); ++other)
                if (other != number && first_[other].size() == found.size() && same_passage(first_[other][i], found[i]))
                    return check.fail(of, " is the one to ", queries_[other].name());
            return check.fail(of, " differs in passage ", i, ", in its ", difference(expected[i], found[i]), ": it is \"",
                              printable(found[i].id), "\" with a score of ", std::to_string(found[i].score), ", and was \"",
                              printable(expected[i].id), "\" with a score of ", std::to_string(expected[i].score), " at first");
        }
        return true;
    }

    /// Asks everything for the first time.
    void ask() {
        decltype(auto) retriever = fresh();
        for (const OwnedQuery& query : queries_) first_.push_back(owned(retriever.retrieve(query.view(), k_)));
    }
    const std::vector<Answer>& first() const noexcept { return first_; }

private:
    MakeRetriever* make_;
    std::vector<OwnedQuery> queries_;
    std::size_t k_;
    std::vector<Answer> first_;
};

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail

/// \file Checks of retrievers: what an answer is, how long it lives, and what may come besides `retrieve`.
#pragma once

#include "flashback/testing/detail/retriever_bench.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <deque>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// What holds of every answer.
template <class Range>
bool check_answer(RunningCheck& check, const Range& answer, std::size_t k, bool tokens, std::string_view to) {
    const std::span<const Passage> found{std::ranges::data(answer), std::ranges::size(answer)};
    if (!check.expect(found.size() <= k, "the answer to ", to, " has ", found.size(), " passages, expected at most ", k))
        return false;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const Passage& passage = found[i];
        const std::string which = words("passage ", i, " (\"", printable(passage.id), "\") of the answer to ", to);
        if (!check.expect(!std::isnan(passage.score), which, " has the score nan, expected a number")) return false;
        if (!check.expect(i == 0 || passage.score <= found[i - 1].score, which, " has the score ",
                          std::to_string(passage.score), ", more than ", std::to_string(i > 0 ? found[i - 1].score : 0),
                          " before it, expected the best first"))
            return false;
        if (!check.expect(
                !tokens || !passage.tokens.empty() || passage.text.empty(), which,
                " has a text and no tokens, and a decoder reads tokens only; if nobody reads them, say .tokens = false"))
            return false;
        for (const TokenId token : passage.tokens)
            if (!check.expect(token >= 0, which, " has the token ", token, ", which no vocabulary has")) return false;
    }
    return true;
}

template <class Bench>
void check_answers(Bench& bench, RunningCheck& check, bool tokens) {
    bench.ask();
    std::size_t found = 0;
    decltype(auto) retriever = bench.fresh();
    for (const OwnedQuery& query : bench.queries()) {
        for (const std::size_t k : {bench.k(), std::size_t{1}, std::size_t{2}, std::size_t{1000}, std::size_t{0}}) {
            const auto& answer = retriever.retrieve(query.view(), k);
            found += std::ranges::size(answer);
            if (!check_answer(check, answer, k, tokens, words(query.name(), " for ", k))) return;
        }
    }
    check.expect(found > 0, "none of ", bench.queries().size(), " queries found a passage: the suite needs some that do");
}

/// The same query has the same answer, whatever was asked between.
template <class Bench>
void check_same_answers(Bench& bench, RunningCheck& check) {
    decltype(auto) retriever = bench.fresh();
    for (std::size_t round = 0; round < 2; ++round)
        for (std::size_t i = bench.queries().size(); i-- > 0;)
            if (!bench.same(check, i, retriever.retrieve(bench.queries()[i].view(), bench.k()),
                            round == 0 ? "in another order" : "once more"))
                return;
    static_cast<void>(retriever.retrieve(bench.queries()[0].view(), 1));
    bench.same(check, 0, retriever.retrieve(bench.queries()[0].view(), bench.k()), "after the same was asked for 1 passage");
}

/// Views the passages of an answer, and looks at them later.
class Watched {
public:
    template <class Range>
    explicit Watched(const Range& answer)
        : views_(std::ranges::begin(answer), std::ranges::end(answer)), copies_(owned(answer)) {}

    bool stayed(RunningCheck& check, std::string_view meanwhile) const {
        for (std::size_t i = 0; i < views_.size(); ++i)
            if (!same_passage(copies_[i], views_[i]))
                return check.fail("passage ", i, " of an answer changed when ", meanwhile,
                                  ": what it views must live until the next call of retrieve");
        return true;
    }

private:
    std::vector<Passage> views_;
    Answer copies_;
};

/// What an answer views lives until the next call of `retrieve`, also if the range and the query are gone.
template <class Bench>
void check_lifetimes(Bench& bench, RunningCheck& check) {
    using Subject = typename Bench::Subject;
    decltype(auto) retriever = bench.fresh();
    for (const OwnedQuery& query : bench.queries()) {
        OwnedQuery passing = query;
        const Watched answer{retriever.retrieve(passing.view(), bench.k())};
        std::ranges::fill(passing.text, '#');
        std::ranges::fill(passing.tokens, 0);
        if (!answer.stayed(check, "the query was gone")) return;
        {
            const Answer filler(64, bench.first().front().empty() ? OwnedPassage{} : bench.first().front().front());
            if (!answer.stayed(check, "the range was gone and memory was used for something else")) return;
        }
        if constexpr (CountsWork<Subject>) {
            static_cast<void>(std::as_const(retriever).work());
            if (!answer.stayed(check, "work() was asked")) return;
        }
        if constexpr (PrefetchingRetriever<Subject>) {
            static_cast<void>(std::as_const(retriever).ready());
            retriever.prefetch(bench.queries().back().view(), bench.k());
            if (!answer.stayed(check, "something was prefetched")) return;
        }
        if constexpr (SpeculatingRetriever<Subject>) {
            static_cast<void>(retriever.speculate(bench.queries().front().view(), bench.k()));
            if (!answer.stayed(check, "a guess was asked for")) return;
        }
    }
}

/// Queries that find nothing or cannot be searched for may be refused, but they change nothing.
template <class Bench>
void check_odd_queries(Bench& bench, RunningCheck& check, bool tokens) {
    if constexpr (failures_return) {
        decltype(auto) retriever = bench.fresh();
        const std::vector<OwnedQuery> odd{{},
                                          {.text = " "},
                                          {.tokens = {-1}},
                                          {.text = std::string(3, '\0')},
                                          {.text = "\xff\xfe\x80"},
                                          {.text = std::string(100000, 'x')}};
        for (const OwnedQuery& query : odd) {
            const std::string name = query.text.empty() && query.tokens.empty() ? "a query of nothing" : query.name();
            bool right = true;
            const Thrown thrown = thrown_by(
                [&] { right = check_answer(check, retriever.retrieve(query.view(), bench.k()), bench.k(), tokens, name); });
            if (!right) return;
            if (!check.expect(!thrown.threw || !thrown.sentence.empty(), name, " was refused without a sentence")) return;
            if constexpr (!remembers<typename Bench::Subject>()) {
                if (!bench.same(check, 0, retriever.retrieve(bench.queries()[0].view(), bench.k()), words("after ", name)))
                    return;
            }
        }
    } else {
        check.not_asked("without exceptions a failure ends the program");
    }
}

template <class Bench>
std::vector<Query> views_of(const Bench&, const std::vector<OwnedQuery>& queries) {
    std::vector<Query> views;
    for (const OwnedQuery& query : queries) views.push_back(query.view());
    return views;
}

/// Answers to several queries are those to each, in their order.
template <class Bench, class Answers>
bool check_answers_of(Bench& bench, RunningCheck& check, const Answers& answers, std::span<const std::size_t> numbers,
                      bool tokens, std::string_view how) {
    if (!check.expect(std::ranges::size(answers) == numbers.size(), how, " gave ", std::ranges::size(answers), " answers to ",
                      numbers.size(), " queries"))
        return false;
    std::size_t i = 0;
    for (const auto& answer : answers) {
        const std::size_t number = numbers[i++];
        if (!check_answer(check, answer, bench.k(), tokens, words(bench.queries()[number].name(), " ", how))) return false;
        if constexpr (!remembers<typename Bench::Subject>()) {
            if (!bench.same(check, number, answer, how)) return false;
        }
    }
    return true;
}

template <class Bench>
void check_batches(Bench& bench, RunningCheck& check, bool tokens) {
    decltype(auto) retriever = bench.fresh();
    const std::size_t all = bench.queries().size();
    std::vector<std::size_t> numbers;
    for (std::size_t i = 0; i < all; ++i) numbers.push_back(i);
    for (std::size_t i = all; i-- > 0;) numbers.push_back(i);
    for (const std::size_t n : {2 * all, std::size_t{1}, std::size_t{0}}) {
        std::vector<OwnedQuery> queries;
        for (std::size_t i = 0; i < n; ++i) queries.push_back(bench.queries()[numbers[i]]);
        const auto views = views_of(bench, queries);
        const auto& answers = retriever.retrieve_batch(std::span<const Query>{views}, bench.k());
        if (!check_answers_of(bench, check, answers, std::span{numbers}.first(n), tokens, "in retrieve_batch")) return;
    }
}

/// A batch that is searched for meanwhile: its queries are copied, and of two the first is given up.
template <class Bench>
void check_asynchronous(Bench& bench, RunningCheck& check, bool tokens) {
    decltype(auto) retriever = bench.fresh();
    std::deque<std::vector<OwnedQuery>>
        given;  // overwritten, but kept: who looks at them later is told, and reads no freed memory
    const auto begin = [&](std::span<const std::size_t> numbers) {
        std::vector<OwnedQuery>& queries = given.emplace_back();
        for (const std::size_t number : numbers) queries.push_back(bench.queries()[number]);
        const auto views = views_of(bench, queries);
        retriever.begin_batch(std::span<const Query>{views}, bench.k());
        for (OwnedQuery& query : queries) {
            std::ranges::fill(query.text, '#');
            std::ranges::fill(query.tokens, 0);
        }
    };
    const std::size_t last = bench.queries().size() - 1;
    const std::vector<std::size_t> one{0}, several{last, 0, last};
    begin(several);
    if (!check_answers_of(bench, check, retriever.take_batch(), several, tokens, "in take_batch")) return;
    begin(several);
    begin(one);
    if (!check_answers_of(bench, check, retriever.take_batch(), one, tokens,
                          "in take_batch, after an earlier batch was given up"))
        return;
    begin(one);
    if (!check_answers_of(bench, check, retriever.take_batch(), one, tokens, "in take_batch, once more")) return;
}

/// A hint changes no answer, and is ready some time.
template <class Bench>
void check_prefetching(Bench& bench, RunningCheck& check) {
    using Subject = typename Bench::Subject;
    decltype(auto) retriever = bench.fresh();
    const std::size_t last = bench.queries().size() - 1;
    std::deque<OwnedQuery> given;  // kept, as above
    const auto prefetch = [&](std::size_t number) {
        OwnedQuery& passing = given.emplace_back(bench.queries()[number]);
        retriever.prefetch(passing.view(), bench.k());
        std::ranges::fill(passing.text, '#');
        std::ranges::fill(passing.tokens, 0);
    };
    const auto same = [&](std::size_t number, std::string_view when) {
        const auto& answer = retriever.retrieve(bench.queries()[number].view(), bench.k());
        if constexpr (remembers<Subject>()) {
            return check_answer(check, answer, bench.k(), false, bench.queries()[number].name());
        } else {
            return bench.same(check, number, answer, when);
        }
    };
    prefetch(0);
    const auto since = std::chrono::steady_clock::now();
    while (!std::as_const(retriever).ready()) {
        if (!check.expect(std::chrono::steady_clock::now() - since < std::chrono::seconds{20},
                          "ready() is still false 20 seconds after prefetch"))
            return;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    if (!same(0, "after it was prefetched")) return;
    prefetch(0);
    if (!same(0, "while it was prefetched")) return;
    prefetch(last);
    if (!same(0, "after another query was prefetched")) return;
    prefetch(0);
    prefetch(last);
    if (!same(last, "after two queries were prefetched")) return;
    same(0, "after what was prefetched was taken");
}

/// A guess may be wrong, but it is an answer, and costs no answer its truth.
template <class Bench>
void check_speculating(Bench& bench, RunningCheck& check, bool tokens) {
    decltype(auto) retriever = bench.fresh();
    for (std::size_t round = 0; round < 2; ++round) {
        for (std::size_t i = 0; i < bench.queries().size(); ++i) {
            const OwnedQuery& query = bench.queries()[i];
            const auto& guess = retriever.speculate(query.view(), bench.k());
            if (!check_answer(check, guess, bench.k(), tokens, words(query.name(), ", guessed,"))) return;
            const Watched watched{guess};
            const auto& answer = retriever.retrieve(query.view(), bench.k());
            if constexpr (!remembers<typename Bench::Subject>()) {
                if (!bench.same(check, i, answer, "after a guess")) return;
            }
            if (!watched.stayed(check, "the search was done that it had guessed")) return;
        }
    }
}

template <class Bench>
void check_retriever_work(Bench& bench, RunningCheck& check) {
    decltype(auto) retriever = bench.fresh();
    std::size_t before = work_of(std::as_const(retriever));
    for (const OwnedQuery& query : bench.queries()) {
        static_cast<void>(retriever.retrieve(query.view(), bench.k()));
        const std::size_t now = work_of(std::as_const(retriever));
        if (!check.expect(now >= before, "work() is ", now, " after retrieve, and was ", before,
                          " before: it counts what was evaluated, ever"))
            return;
        before = now;
    }
}

/// Several threads search at once.
template <class Bench>
void check_threads(Bench& bench, RunningCheck& check, std::size_t count) {
    decltype(auto) retriever = bench.fresh();
    std::vector<SuiteCheck> found(count);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < count; ++t) {
        threads.emplace_back([&, t] {
            RunningCheck own{found[t]};
            const Thrown thrown = thrown_by([&] {
                for (std::size_t i = 0; i < 20 * bench.queries().size(); ++i) {
                    const std::size_t number = (i + t) % bench.queries().size();
                    if (!bench.same(own, number, retriever.retrieve(bench.queries()[number].view(), bench.k()),
                                    words("while ", count, " threads searched")))
                        return;
                }
            });
            if (thrown.threw) own.fail("while ", count, " threads searched, there was ", thrown.words());
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const SuiteCheck& one : found) check.expect(one.outcome == CheckOutcome::passed, one.sentence);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail

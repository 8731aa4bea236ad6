/// \file A conformance suite for retrievers: what an embedder runs against their own search. With any test framework, or none.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/testing/detail/retriever_checks.hpp"
#include "flashback/testing/suite_report.hpp"

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing {

/// What a retriever is asked.
struct RetrieverSuite {
    std::vector<std::string> texts = {};        ///< queries by text
    std::vector<TokenBuffer> token_texts = {};  ///< queries by tokens, as a decoder asks
    std::size_t passages = 4;                   ///< the most in an answer
    bool tokens = true;                         ///< whether passages have tokens: a decoder reads nothing else of them
    std::size_t threads = 1;                    ///< that may search at once; more than one only if the retriever allows it
};

/// Checks that a retriever does what Retriever promises, and whatever else it has: answers and how long they live, batches, hints,
/// guesses. `make_retriever()` gives one: a new one, or a reference to the only one that there is. If its answers depend on what was
/// asked before, `static constexpr bool remembers_queries = true` says so, and they are not compared with each other.
/// Requires  two queries or more, of which one finds something
/// Cost      about 25 searches for each query
template <class MakeRetriever>
    requires std::invocable<MakeRetriever&> SuiteReport check_retriever(MakeRetriever&& make_retriever,
                                                                        const RetrieverSuite& suite) {
        using Bench = detail::RetrieverBench<std::remove_reference_t<MakeRetriever>>;
        using Subject = typename Bench::Subject;
        static_assert(checked_retriever<Subject>());
        using detail::RunningCheck;
        constexpr bool remembers = detail::remembers<Subject>();
        constexpr std::string_view it_remembers = "its answers depend on what was asked before (remembers_queries)";

        std::vector<detail::OwnedQuery> queries;
        for (const std::string& text : suite.texts) queries.push_back({.text = text, .tokens = {}});
        for (const TokenBuffer& tokens : suite.token_texts) queries.push_back({.text = {}, .tokens = tokens});
        FLASHBACK_ASSERT(queries.size() > 1, "the suite for retrievers needs 2 queries or more (texts or token_texts), found ",
                         queries.size());
        Bench bench{make_retriever, std::move(queries), suite.passages};
        detail::SuiteRunner runner{"retriever"};
        const auto run = [&](std::string_view name, std::initializer_list<std::string_view> upon, auto check) {
            runner.run(name, upon, [&](RunningCheck& running) { check(running); });
        };

        run("answers", {}, [&](RunningCheck& check) { detail::check_answers(bench, check, suite.tokens); });
        if constexpr (remembers) {
            runner.skip("same answers", it_remembers);
        } else {
            run("same answers", {"answers"}, [&](RunningCheck& check) { detail::check_same_answers(bench, check); });
        }
        run("answers stay", {"answers"}, [&](RunningCheck& check) { detail::check_lifetimes(bench, check); });
        run("odd queries", {"same answers", "answers stay"},
            [&](RunningCheck& check) { detail::check_odd_queries(bench, check, suite.tokens); });
        if constexpr (BatchRetriever<Subject>) {
            run("retrieve_batch", {"same answers", "answers stay"},
                [&](RunningCheck& check) { detail::check_batches(bench, check, suite.tokens); });
        } else {
            runner.skip("retrieve_batch", "there is no retrieve_batch()");
        }
        if constexpr (AsynchronousRetriever<Subject>) {
            run("begin_batch", {"same answers", "answers stay"},
                [&](RunningCheck& check) { detail::check_asynchronous(bench, check, suite.tokens); });
        } else {
            runner.skip("begin_batch", "there is no begin_batch()");
        }
        if constexpr (PrefetchingRetriever<Subject>) {
            run("prefetch", {"same answers", "answers stay"},
                [&](RunningCheck& check) { detail::check_prefetching(bench, check); });
        } else {
            runner.skip("prefetch", "there is no prefetch()");
        }
        if constexpr (SpeculatingRetriever<Subject>) {
            run("speculate", {"same answers", "answers stay"},
                [&](RunningCheck& check) { detail::check_speculating(bench, check, suite.tokens); });
        } else {
            runner.skip("speculate", "there is no speculate()");
        }
        if constexpr (CountsWork<Subject>) {
            run("work", {"answers"}, [&](RunningCheck& check) { detail::check_retriever_work(bench, check); });
        } else {
            runner.skip("work", "there is no work()");
        }
        if (suite.threads < 2) {
            runner.skip("threads", "one thread at a time (RetrieverSuite::threads)");
        } else if constexpr (remembers) {
            runner.skip("threads", it_remembers);
        } else {
            run("threads", {"same answers", "answers stay"},
                [&](RunningCheck& check) { detail::check_threads(bench, check, suite.threads); });
        }
        return runner.take();
    }

}  // namespace flashback::inline FLASHBACK_ISA::testing

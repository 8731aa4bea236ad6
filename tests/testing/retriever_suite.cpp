// The suite for retrievers: what is right passes, and each fault is found by the check that is about it, in the right words.
#include "flashback/testing/retriever_suite.hpp"

#include "flashback/testing/null_model.hpp"
#include "testing/failed_in.hpp"
#include "testing/faulty_retriever.hpp"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

namespace test_testing_retriever_suite {

using namespace flashback;
using flashback::testing::check_retriever;
using flashback::testing::CheckOutcome;
using flashback::testing::RetrieverSuite;
using flashback::testing::SuiteReport;
using test_testing::failed_in;
using test_testing::FaultySearch;
using test_testing::SearchFault;

namespace {

const RetrieverSuite asked{.texts = {}, .token_texts = {{1, 2, 3}, {4, 5}, {6}}, .passages = 4, .tokens = true, .threads = 3};

SuiteReport report_of(SearchFault fault) {
    return check_retriever([fault] { return FaultySearch{fault}; }, asked);
}

struct Case {
    SearchFault fault;
    std::string_view failed;  // these checks, and no others
    std::string_view part;    // of the sentence of the first
};

const Case cases[] = {
    {SearchFault::one_too_many, "answers", "the answer to a query of 3 tokens for 4 has 5 passages, expected at most 4"},
    {SearchFault::worst_first, "answers", "expected the best first"},
    {SearchFault::no_tokens, "answers", "has a text and no tokens, and a decoder reads tokens only"},
    {SearchFault::marks_with_minus_one, "answers", "has the token -1, which no vocabulary has"},
    {SearchFault::nan_score, "answers", "has the score nan"},
    {SearchFault::finds_nothing, "answers", "none of 3 queries found a passage"},
    {SearchFault::differs_each_time, "same answers", "the answer to a query of 1 tokens in another order"},
    {SearchFault::keeps_the_shortest, "same answers", "after the same was asked for 1 passage has 1 passages, expected 4"},
    {SearchFault::views_the_query, "answers stay", "changed when the query was gone"},
    {SearchFault::asking_overwrites, "answers stay", "changed when work() was asked"},
    {SearchFault::hint_overwrites, "answers stay", "changed when something was prefetched"},
    {SearchFault::empty_breaks, "odd queries", "after a query of nothing has 0 passages, expected 4"},
    {SearchFault::refuses_silently, "odd queries", "a query of nothing was refused without a sentence"},
    {SearchFault::batch_reversed, "retrieve_batch",
     "the answer to a query of 3 tokens in retrieve_batch is the one to a query of 2 tokens"},
    {SearchFault::batch_short, "retrieve_batch", "gave 5 answers to 6 queries"},
    {SearchFault::batch_ignores_k, "retrieve_batch", "has 9 passages, expected at most 4"},
    {SearchFault::views_the_batch, "begin_batch", "in take_batch"},
    {SearchFault::first_batch_stays, "begin_batch", "gave 3 answers to 1 queries"},
    {SearchFault::hint_answers, "prefetch", "after another query was prefetched is the one to"},
    {SearchFault::hint_is_a_view, "prefetch", "after it was prefetched"},
    {SearchFault::guess_too_long, "speculate", "guessed, has 6 passages, expected at most 4"},
    {SearchFault::guess_overwritten, "speculate", "changed when the search was done that it had guessed"},
    {SearchFault::work_is_taken_back, "work", "work() is 999 after retrieve, and was 1000 before"},
    {SearchFault::one_query_at_a_time, "threads", "while 3 threads searched"},
};

}  // namespace

TEST_CASE("A search without a fault passes every check, also if there is only one; so does the one that costs nothing") {
    const SuiteReport report = report_of(SearchFault::none);
    CHECK_MESSAGE(report.passed(), report.text());
    CHECK_MESSAGE(report.count(CheckOutcome::not_asked) == 0, report.text());

    FaultySearch only{SearchFault::none};
    const SuiteReport by_reference = check_retriever([&]() -> FaultySearch& { return only; }, asked);
    CHECK_MESSAGE(by_reference.passed(), by_reference.text());

    const SuiteReport null = check_retriever([] { return flashback::testing::NullRetriever{12, 50}; }, asked);
    CHECK_MESSAGE(null.passed(), null.text());
}

TEST_CASE("Each fault of a search is found by the check that is about it, and says what is wrong") {
    for (const Case& one : cases) {
        const SuiteReport report = report_of(one.fault);
        CHECK_MESSAGE(failed_in(report) == one.failed, report.text());
        const auto* check = report.find(one.failed);
        if (check != nullptr) CHECK_MESSAGE(check->sentence.find(one.part) != std::string::npos, check->sentence);
    }
}

}  // namespace test_testing_retriever_suite

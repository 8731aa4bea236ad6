// The suite for models: what is right passes, and each fault is found by the checks that are about it, in the right words.
#include "flashback/testing/language_model_suite.hpp"

#include "flashback/testing/null_model.hpp"
#include "testing/failed_in.hpp"
#include "testing/faulty_model.hpp"

#include <algorithm>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_testing_language_model_suite {

using namespace flashback;
using flashback::testing::check_language_model;
using flashback::testing::CheckOutcome;
using flashback::testing::LanguageModelSuite;
using flashback::testing::SuiteReport;
using test_testing::failed_in;
using test_testing::Fault;
using test_testing::FaultyModel;

namespace {

struct Provocations {
    static void retune(FaultyModel& model) { model.set_adapter(4); }
    static void fail_next(FaultyModel& model) { model.fail_next(); }
};

/// One type for all, so that the suite is compiled once.
struct Make {
    Fault fault;
    std::size_t window = 160;
    FaultyModel operator()() const { return FaultyModel{fault, window}; }
};

SuiteReport report_of(Fault fault, const LanguageModelSuite& suite = {}, std::size_t window = 160) {
    return check_language_model(Make{fault, window}, suite, Provocations{});
}

struct Case {
    Fault fault;
    std::string_view failed;  // these checks, and no others
    std::string_view part;    // of the sentence of the first
};

const Case cases[] = {
    {Fault::starts_with_a_token, "starts empty", "has the size 1, expected 0"},
    {Fault::few_logits, "size of logits",
     "evaluate of 1 tokens gave 15 logits, expected those after the last token: vocab_size() is 16"},
    {Fault::nan_logits, "logits are numbers", "logit 9 after 21 tokens is nan"},
    {Fault::size_is_one_more, "counts", "after evaluate of 3 tokens by a model of 0 size() is 4, expected 3"},
    {Fault::puts_bos_in_front, "counts", "has evaluate put BOS in front?"},
    {Fault::hides_bos_in_front, "head", "evaluate puts the head in front by itself"},
    {Fault::first_row, "any division", "they are those after token 1 of the text, not after the last one, 48"},
    {Fault::one_batch, "any division", "they are those after token 32 of the text, not after the last one, 48"},
    {Fault::rounds_by_batch, "any division", "(logit 5 is"},
    {Fault::differs_each_time, "same again", "differ from those of the first time"},
    {Fault::shared_logits, "logits stay", "were overwritten while a fork of the model evaluated something else"},
    {Fault::asking_moves, "asking changes nothing", "differ from those of a from-scratch evaluation"},
    {Fault::forgets_truncation, "truncate", "as if nothing had been forgotten"},
    {Fault::keeps_one_more, "truncate", "as if a position too few had been forgotten"},
    {Fault::keeps_position, "truncate", "after truncate("},
    {Fault::grows_by_truncation, "odd calls", "after truncate(7) of a model of 6 size() is 7, expected 6"},
    {Fault::keeps_first, "counts", "after truncate(0) of a model of 4 size() is 1, expected 0"},
    {Fault::takes_bad_tokens, "bad tokens", "evaluate took token -1 as number 1 of 48"},
    {Fault::keeps_half, "all or nothing", "as if 24 tokens of what was refused had been kept"},
    {Fault::counts_half, "all or nothing", "size() is 32, but it was 8"},
    {Fault::other_exception, "kinds of errors", "another exception (decode failed), expected Error{contract}"},
    {Fault::wrong_kind, "kinds of errors", "in a window of 160 was refused by Error{contract}"},
    {Fault::failure_unnoticed, "engine fails", "evaluate after fail_next(model) threw nothing"},
    {Fault::failure_keeps, "engine fails", "as if 2 tokens of the evaluation that failed had been kept"},
    {Fault::failure_of_another_kind, "engine fails", "threw Error{contract} (the runtime failed), expected Error{engine}"},
    {Fault::ignores_window, "window", "evaluate took a text that is 1 token longer than what is left of the window of 160"},
    {Fault::head_grows, "head", ""},
    {Fault::all_end, "ends", "is_end() says of all 16 tokens"},
    {Fault::tokens_keeps, "tokens", "after truncate(24) tokens() is"},
    {Fault::work_is_taken_back, "work", "after truncate(1), and was 48 before"},
    {Fault::rows_shifted, "evaluate_all", "in row 0 of evaluate_all"},
    {Fault::stop_leaves_tokens, "cancellation", "which appended 0 of 45 tokens, and the rest"},
    {Fault::stop_says_nothing, "cancellation", "gave no logits, but size() says that all 45 tokens were appended"},
    {Fault::fork_shares, "fork", "in the model, after a fork of it evaluated 3 tokens"},
    {Fault::fork_is_empty, "fork", "in a fork, after 4 tokens more"},
    {Fault::rows_mixed, "evaluate_each", "in row 0 of evaluate_each with texts of several lengths"},
    {Fault::pass_keeps_half, "evaluate_each is all or nothing", "after evaluate_each threw, size() of model 0 is"},
    {Fault::block_stays, "blocks", "after see({}), the logits differ"},
    {Fault::block_survives_cut, "blocks", "as if the block were still seen"},
    {Fault::block_reaches_back, "blocks", "after a cut to where the block was first seen"},
    {Fault::plain_size_is_size, "blocks are counted", "after tokens that see a block plain_size() is 55, expected 49"},
    {Fault::attention_is_scores, "attention", "sum to 15, expected a softmax"},
    {Fault::evict_counts_wrong, "evict", "after evict(4, 3) of 48 positions size() is 46, expected 45"},
    {Fault::fingerprint_stays, "fingerprint", "fingerprint() is still 7 after retune(model)"},
    {Fault::fingerprint_by_text, "fingerprint", "after evaluate, and was 7 before"},
};

}  // namespace

TEST_CASE("An adapter without a fault passes every check, also if there is only one model, of which nothing is copied") {
    const SuiteReport report = report_of(Fault::none);
    CHECK_MESSAGE(report.passed(), report.text());
    CHECK_MESSAGE(report.count(CheckOutcome::not_asked) == 0, report.text());

    FaultyModel only{Fault::none};
    const SuiteReport by_reference = check_language_model([&]() -> FaultyModel& { return only; }, {}, Provocations{});
    CHECK_MESSAGE(by_reference.passed(), by_reference.text());
    CHECK_MESSAGE(by_reference.count(CheckOutcome::not_asked) == 0, by_reference.text());
}

TEST_CASE("Each fault is found by the check that is about it, and says what is wrong") {
    for (const Case& one : cases) {
        const SuiteReport report = report_of(one.fault);
        CHECK_MESSAGE(failed_in(report) == one.failed, report.text());
        const auto* check = report.find(one.failed);
        if (check != nullptr) CHECK_MESSAGE(check->sentence.find(one.part) != std::string::npos, check->sentence);
    }
}

TEST_CASE("A model that has nothing but what it must, and one that holds blocks, pass") {
    using flashback::testing::NullBlockModel;
    using flashback::testing::NullModel;
    const SuiteReport least = check_language_model([] { return NullModel{50}; });
    CHECK_MESSAGE(least.passed(), least.text());
    CHECK(least.find("tells texts apart")->outcome == CheckOutcome::not_asked);
    const SuiteReport blocks = check_language_model([] { return NullBlockModel{50}; });
    CHECK_MESSAGE(blocks.passed(), blocks.text());
    CHECK(blocks.find("blocks")->outcome == CheckOutcome::passed);
}

TEST_CASE("The only model that there is must be emptied by truncate(0), and if it is not, that is what the suite says") {
    struct KeepsOne : flashback::testing::NullModel {
        using NullModel::NullModel;
        void truncate(std::size_t length) {
            NullModel::truncate(std::max<std::size_t>(length, std::min<std::size_t>(1, size())));
        }
    };
    KeepsOne only{50};
    const SuiteReport report = check_language_model([&]() -> KeepsOne& { return only; });
    REQUIRE_MESSAGE(failed_in(report).starts_with("counts"), report.text());
    CHECK(report.find("counts")->sentence == "after truncate(0) size() is 1, expected 0: does truncate(0) empty the model?");
}

TEST_CASE("An engine that rounds by the size of a batch passes within a tolerance, which must not hide faults") {
    const SuiteReport exact = report_of(Fault::rounds_by_batch);
    CHECK(exact.find("any division")->sentence.find("the suite needs a tolerance") != std::string::npos);
    const SuiteReport near = report_of(Fault::rounds_by_batch, {.tolerance = 0.01});
    CHECK_MESSAGE(near.passed(), near.text());
    CHECK(near.find("any division")->sentence.find("; the worst differs by 0.00") != std::string::npos);
    CHECK(failed_in(report_of(Fault::keeps_one_more, {.tolerance = 0.01})) == "truncate");
    const SuiteReport blind = report_of(Fault::none, {.tolerance = 100});
    CHECK(failed_in(blind) == "tells texts apart");
    CHECK(blind.find("tells texts apart")->sentence.find("the tolerance is 100: it would hide every fault") !=
          std::string::npos);
}

TEST_CASE("A small window makes the texts shorter, and a smaller one is refused") {
    const auto with_window = [](std::size_t window) { return report_of(Fault::none, {}, window); };
    for (const std::size_t window : {std::size_t{36}, std::size_t{40}, std::size_t{100}})
        CHECK_MESSAGE(with_window(window).passed(), with_window(window).text());
    const SuiteReport tiny = with_window(35);
    CHECK(failed_in(tiny) == "starts empty");
    CHECK(tiny.find("starts empty")->sentence == "window() is 35, and the suite needs 36 positions or more");
    CHECK(tiny.count(CheckOutcome::passed) == 0);
}

TEST_CASE("A window that means that there is no limit is not filled") {
    for (const std::size_t window : {std::size_t{65536}, std::size_t{1} << 31, std::numeric_limits<std::size_t>::max()}) {
        const SuiteReport report = report_of(Fault::wrong_kind, {}, window);
        CHECK_MESSAGE(report.passed(), report.text());
        REQUIRE(report.find("window")->outcome == CheckOutcome::not_asked);
        CHECK(report.find("window")->sentence.find("window() is " + std::to_string(window)) == 0);
        CHECK(report.find("kinds of errors")->sentence.find("window() is " + std::to_string(window)) != std::string::npos);
    }
    CHECK(failed_in(report_of(Fault::wrong_kind, {}, 65535)) == "kinds of errors");
}

TEST_CASE("A report has a line for each check") {
    std::ostringstream out;
    out << SuiteReport{"model",
                       {{"one", CheckOutcome::passed, ""},
                        {"another", CheckOutcome::failed, "it is not"},
                        {"third", CheckOutcome::not_asked, "it has none"}}};
    CHECK(out.str() ==
          "passed     one\n"
          "FAILED     another  it is not\n"
          "not asked  third    it has none\n"
          "model: 1 check passed, 1 failed, 1 was not asked\n");
}

}  // namespace test_testing_language_model_suite

#include "flashback/measure/run_time.hpp"

#include "flashback/model/session.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/errors.hpp"
#include "support/random_model.hpp"

#include <cmath>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr auto layouts = {RunTimeLayout::aside, RunTimeLayout::aside_stored, RunTimeLayout::append, RunTimeLayout::prepend,
                          RunTimeLayout::recompute};

void check_counts(const RunTime& found, const RunTime& expected) {
    CHECK(found.retrievals == expected.retrievals);
    CHECK(found.reused == expected.reused);
    CHECK(found.prefill_tokens == expected.prefill_tokens);
    CHECK(found.decode_tokens == expected.decode_tokens);
}

/// New passages may come again by chance, so there they are not stored.
Session small_session(std::size_t window, RunTimeLayout layout = RunTimeLayout::aside_stored) {
    return Session{random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 20, .window = window}),
                   {},
                   layout == RunTimeLayout::aside ? nullptr : std::make_shared<BlockStore>()};
}

}  // namespace

TEST_CASE("The counts of the paper's run-time test, and what they predict") {
    struct Case {
        std::size_t length, retrievals, prepend, append, decoded;
        double at_1, at_20;
    };
    for (const Case& c : {Case{1024, 24, 19776, 3952, 360, 4.7, 2.4},
                          {2048, 88, 117568, 13168, 1320, 8.2, 3.6},
                          {4096, 216, 509760, 31600, 3240, 14.7, 6.0},
                          {8192, 472, 2080576, 68464, 7080, 27.6, 10.6}}) {
        CAPTURE(c.length);
        const RunTime append = counts_of(retrievals_of(RunTimeLayout::append, 512, c.length));
        const RunTime prepend = counts_of(retrievals_of(RunTimeLayout::prepend, 512, c.length));
        const RunTime recompute = counts_of(retrievals_of(RunTimeLayout::recompute, 512, c.length));
        CHECK(append.retrievals == c.retrievals);
        CHECK(append.prefill_tokens == c.append);
        CHECK(prepend.prefill_tokens == c.prepend);
        CHECK(append.decode_tokens == c.decoded);
        CHECK(prepend.decode_tokens == c.decoded);
        CHECK(prepend.reused == 0);
        CHECK(append.reused + append.prefill_tokens == prepend.prefill_tokens);
        check_counts(recompute, prepend);
        CHECK(std::abs(predicted_speedup(prepend, append, 1) - c.at_1) <= 0.05);
        CHECK(std::abs(predicted_speedup(prepend, append, 20) - c.at_20) <= 0.05);
    }
}

TEST_CASE("The decoder does what the counts say, with a model that remembers its tokens and with one that does not") {
    struct Case {
        std::size_t init, length;
        RunTimeOptions options;
    };
    for (const Case& c : {Case{40, 120, {.passage = 12, .stride = 4}},
                          {5, 100, {.passage = 12, .stride = 8}},    // less text than a stride
                          {30, 101, {.passage = 20, .stride = 16}},  // the last stride is cut short
                          {30, 60, {.passage = 8, .stride = 1}},
                          {30, 60, {.passage = 1, .stride = 7}},
                          {30, 40, {.passage = 8, .stride = 16}}}) {  // a single retrieval
        CAPTURE(c.init);
        CAPTURE(c.length);
        for (const RunTimeLayout layout : layouts) {
            CAPTURE(to_string(layout));
            const RunTime expected = counts_of(retrievals_of(layout, c.init, c.length, c.options));
            testing::NullModel null{50};
            testing::NullBlockModel holds_blocks{50};
            if (layout == RunTimeLayout::aside) {
                check_counts(time_loop(holds_blocks, layout, c.init, c.length, c.options), expected);
            } else if (layout != RunTimeLayout::aside_stored) {
                check_counts(time_loop(null, layout, c.init, c.length, c.options), expected);
            }
            Session session = small_session(c.length, layout);
            check_counts(time_loop(session, layout, c.init, c.length, c.options), expected);
            for (const std::size_t samples : {1u, 2u, 3u, 1000u}) {
                const RunTime sampled = sample_loop(session, layout, c.init, c.length, samples, c.options);
                check_counts(sampled, expected);
                CHECK(sampled.prefill_seconds > 0);
                CHECK((sampled.decode_seconds > 0) == (expected.decode_tokens > 0));
            }
        }
    }
}

TEST_CASE("One retrieval: what is kept depends on the layout alone") {
    Session session = small_session(200);
    const RunTimeOptions options{.passage = 24, .stride = 6};
    struct Case {
        RunTimeLayout layout;
        RetrievalLengths lengths;
        std::size_t reused, prefilled;
    };
    for (int again = 0; again < 2; ++again) {
        for (const Case& c : {Case{RunTimeLayout::aside, {100, 93, 7, 6, 24, false}, 93, 31},
                              {RunTimeLayout::aside_stored, {100, 93, 7, 6, 24, true}, 117, 7},
                              {RunTimeLayout::append, {100, 94, 30, 6}, 94, 30},
                              {RunTimeLayout::prepend, {100, 0, 124, 6}, 0, 124},
                              {RunTimeLayout::recompute, {100, 0, 124, 6}, 0, 124}}) {
            CAPTURE(to_string(c.layout));
            CHECK(lengths_of(c.layout, 100, 6, options) == c.lengths);
            const RunTime run = time_retrieval(session, c.layout, 100, 6, options);
            check_counts(run, {.retrievals = 1, .reused = c.reused, .prefill_tokens = c.prefilled, .decode_tokens = 6});
            CHECK(run.evaluated() == c.prefilled + 6);
            CHECK(session.size() == (c.lengths.beside > 0 ? 106 : 130));
        }
    }
    testing::NullModel null{50};
    check_error(ErrorCode::contract, "a layout of passages beside the text needs a model that holds blocks",
                [&] { time_loop(null, RunTimeLayout::aside, 40, 100, options); });
}

TEST_CASE("What a retrieval evaluates does not depend on what was timed before it") {
    const RunTimeOptions options{.passage = 24, .stride = 7};
    for (const RunTimeLayout before : layouts) {
        for (const RunTimeLayout layout : layouts) {
            CAPTURE(to_string(before));
            CAPTURE(to_string(layout));
            Session session = small_session(200);
            static_cast<void>(time_retrieval(session, before, 60, 6, options));
            for (const std::size_t history : {100u, 90u}) {
                const RunTime found = time_retrieval(session, layout, history, 6, options);
                const RetrievalLengths expected = lengths_of(layout, history, 6, options);
                check_counts(found, counts_of({&expected, 1}));
            }
        }
    }
}

TEST_CASE("A new passage is new in every sample and in every repetition, and a stored one is stored") {
    const RunTimeOptions options{.passage = 24, .stride = 7};
    Session session = small_session(200);
    const auto hits = [&](RunTimeLayout layout) {
        const std::size_t before = session.store()->counts().hits;
        static_cast<void>(sample_loop(session, layout, 60, 200, 3, options));
        return session.store()->counts().hits - before;
    };
    CHECK(hits(RunTimeLayout::aside) == 0);
    CHECK(hits(RunTimeLayout::aside_stored) == 4);
    CHECK(hits(RunTimeLayout::aside) == 0);
}

TEST_CASE("Prefill and decode are timed after what the cache holds") {
    Session session = small_session(100);
    const RunTime prefill = time_prefill(session, 30, 20);
    CHECK(session.size() == 50);
    check_counts(prefill, {.reused = 30, .prefill_tokens = 20});
    CHECK(prefill.prefill_seconds > 0);
    CHECK(prefill.decode_seconds == 0);
    const RunTime decode = time_decode(session, 10, 5);
    CHECK(session.size() == 15);
    check_counts(decode, {.reused = 10, .decode_tokens = 5});
    CHECK(decode.decode_seconds > 0);
    CHECK(decode.prefill_seconds == 0);
}

TEST_CASE("Samples are evenly spaced, the first and the last among them") {
    CHECK(evenly_spaced(10, 4) == std::vector<std::size_t>{0, 3, 6, 9});
    CHECK(evenly_spaced(10, 1) == std::vector<std::size_t>{5});
    CHECK(evenly_spaced(3, 7) == std::vector<std::size_t>{0, 1, 2});
    CHECK(evenly_spaced(1, 1) == std::vector<std::size_t>{0});
    CHECK(evenly_spaced(0, 7).empty());
}

TEST_CASE("What was not timed is interpolated: exact where seconds are linear in the history") {
    std::vector<RetrievalLengths> retrievals(11, RetrievalLengths{.history = 0, .kept = 0, .fed = 0, .decoded = 15});
    retrievals.back().decoded = 4;  // cut short
    const auto sample = [](std::size_t i) {
        return RetrievalSample{i, 5 + 2 * static_cast<double>(i), 1 + 0.5 * static_cast<double>(i)};
    };
    RunTime all;
    std::vector<RetrievalSample> every;
    for (std::size_t i = 0; i < retrievals.size(); ++i) every.push_back(sample(i));
    add_interpolated(all, retrievals, every);
    CHECK(all.prefill_seconds == doctest::Approx(5 * 11 + 2 * 55));
    CHECK(all.decode_seconds == doctest::Approx(15 * (10 + 0.5 * 45) + 4 * 6));
    for (const std::size_t count : {2u, 3u, 4u, 10u}) {
        CAPTURE(count);
        RunTime some;
        std::vector<RetrievalSample> samples;
        for (const std::size_t i : evenly_spaced(retrievals.size(), count)) samples.push_back(sample(i));
        add_interpolated(some, retrievals, samples);
        CHECK(some.prefill_seconds == doctest::Approx(all.prefill_seconds));
        CHECK(some.decode_seconds == doctest::Approx(all.decode_seconds));
    }
    RunTime one;
    const RetrievalSample middle = sample(5);
    add_interpolated(one, retrievals, {&middle, 1});  // stands for all
    CHECK(one.prefill_seconds == doctest::Approx(11 * 15));
    CHECK(one.decode_seconds == doctest::Approx(154 * 3.5));
    RunTime none;
    add_interpolated(none, {}, {});
    CHECK(none.seconds() == 0);
}

TEST_CASE("The ratio of costs, and a prediction from it") {
    const RunTime run{.prefill_tokens = 100, .decode_tokens = 10, .prefill_seconds = 2, .decode_seconds = 0.6};
    CHECK(run.seconds() == doctest::Approx(2.6));
    CHECK(run.cost_ratio() == doctest::Approx(3));
    const RunTime slow{.prefill_tokens = 1000, .decode_tokens = 10};
    CHECK(predicted_speedup(slow, run, run.cost_ratio()) == doctest::Approx(1030.0 / 130));
}

TEST_CASE("What cannot be run is refused in words") {
    Session session = small_session(50);
    check_error(ErrorCode::contract,
                "a run-time test of length 640 generates nothing: the initial text has 512 tokens and a passage 128",
                [] { retrievals_of(RunTimeLayout::append, 512, 640); });
    check_error(ErrorCode::contract, "a stride and an initial text of at least 1 token, found 0 and 5",
                [] { retrievals_of(RunTimeLayout::append, 5, 640, {.stride = 0}); });
    check_error(ErrorCode::window, "the run-time test needs 60 positions, but the model holds 50",
                [&] { time_retrieval(session, RunTimeLayout::append, 40, 10, {.passage = 10}); });
    check_error(ErrorCode::window, "the run-time test needs 99 positions, but the model holds 50",
                [&] { time_loop(session, RunTimeLayout::append, 40, 100, {.passage = 12}); });
    check_error(ErrorCode::contract, "at least 1 sample, found 0",
                [&] { sample_loop(session, RunTimeLayout::append, 20, 45, 0, {.passage = 12}); });
    Session tiny{random_model({.vocab = 2})};
    check_error(ErrorCode::contract, "a vocabulary of at least 3 tokens, found 2", [&] { time_prefill(tiny, 0, 5); });
}

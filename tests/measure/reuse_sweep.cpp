// What is timed is a machine; what is counted follows from lengths alone, and is compared with formulas that are written out here.
#include "flashback/measure/reuse_sweep.hpp"

#include "flashback/model/prefix_cached.hpp"
#include "flashback/model/session.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/errors.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_measure_reuse_sweep {

using namespace flashback;
using namespace flashback_test;

const std::vector<ReuseWay> without_store{ReuseWay::append, ReuseWay::prepend, ReuseWay::sticky, ReuseWay::recompute};

/// How many tokens are evaluated from one retrieval to the next. Each generated token but one is a step of its own.
std::size_t by_hand(ReuseWay way, const ReusePoint& at, bool found_again, bool miss) {
    const std::size_t steps = at.stride - 1;
    const std::size_t everything = at.history + at.k * at.passage + steps;
    const std::size_t stride_and_passages = at.stride + at.k * at.passage + steps;
    const std::size_t newest_token = 1 + steps;
    if (miss) return everything;
    switch (way) {
        case ReuseWay::append:
        case ReuseWay::prefix_store: return stride_and_passages;
        case ReuseWay::prepend: return found_again ? newest_token : everything;
        case ReuseWay::sticky: return found_again ? newest_token : stride_and_passages;
        case ReuseWay::recompute: return everything;
        // What saw the last passages is evaluated again: the stride, and the token in front of it.
        case ReuseWay::aside: return std::min(at.history, at.stride + 1) + (found_again ? 0 : at.k * at.passage) + steps;
        case ReuseWay::aside_stored: return std::min(at.history, at.stride + 1) + steps;
        case ReuseWay::append_approximate: return newest_token + at.k * at.passage;
    }
    return 0;
}

/// A sweep over one point.
ReuseSweepOptions only(const ReusePoint& point, std::vector<ReuseWay> ways, const ReuseOptions& how) {
    return {
        .ways = std::move(ways), .base = point, .history = {point.history}, .stride = {}, .passage = {}, .k = {}, .how = how};
}

const std::vector<ReusePoint> points{{.history = 40, .stride = 4, .passage = 12, .k = 1},
                                     {.history = 100, .stride = 16, .passage = 7, .k = 3},
                                     {.history = 16, .stride = 16, .passage = 5, .k = 2},  // all of the text is new
                                     {.history = 30, .stride = 1, .passage = 1, .k = 1}};

template <class Model>
void check_counts(Model& model, const std::vector<ReuseWay>& ways, std::size_t shortest_passage = 1) {
    for (const ReusePoint& at : points) {
        if (at.passage < shortest_passage) continue;
        CAPTURE(at.history);
        CAPTURE(at.k);
        for (const bool found_again : {false, true}) {
            for (const bool miss : {false, true}) {
                CAPTURE(found_again);
                CAPTURE(miss);
                const ReuseOptions how{.found_again = found_again, .miss = miss, .repetitions = 3};
                const ReuseSweep sweep = sweep_reuse(model, only(at, ways, how));
                REQUIRE(sweep.rows.size() == ways.size());
                for (const ReuseRow& row : sweep.rows) {
                    CAPTURE(to_string(row.way));
                    const std::size_t expected = by_hand(row.way, at, found_again, miss);
                    CHECK(row.counts.evaluated == expected);
                    CHECK(row.counts.evaluated + row.counts.reused == at.history + at.k * at.passage + at.stride - 1);
                    CHECK(row.counts == predicted_counts(row.way, at, how));
                    CHECK(row.evaluated_per_token() == static_cast<double>(expected) / static_cast<double>(at.stride));
                    CHECK(row.seconds.size() == 3);
                    CHECK(row.best_seconds() == std::ranges::min(row.seconds));
                    CHECK(row.seconds_per_token() > 0);
                }
                const std::size_t beside = is_aside(ways.back()) ? at.passage_tokens() : 0;
                CHECK(model.size() == at.positions() - beside);  // as the last retrieval leaves it
            }
        }
    }
}

TEST_CASE("Reuse sweep: counts are those of the lengths, with a model that does not count and with one that does") {
    testing::NullModel null{50};
    check_counts(null, without_store);
    testing::NullModel smallest{3};
    check_counts(smallest, without_store);
    Session session{random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 20, .window = 140})};
    session.evaluate(TokenBuffer{1, 2, 3});  // what it held is forgotten
    check_counts(session, without_store);
    check_counts(session, {ReuseWay::append, ReuseWay::append_approximate, ReuseWay::prepend});
    check_error(ErrorCode::contract, "the way append-approximate needs a model of rotary positions",
                [&] { sweep_reuse(null, only(points[0], {ReuseWay::append_approximate}, {})); });
}

const std::vector<ReuseWay> with_blocks{ReuseWay::append, ReuseWay::aside, ReuseWay::prepend, ReuseWay::aside_stored,
                                        ReuseWay::recompute};

TEST_CASE(
    "Reuse sweep: passages beside the text are evaluated, or found in the store, and nothing of them stays for other ways") {
    const auto model = random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 5000, .window = 140});
    Session session{model, {}, std::make_shared<BlockStore>()};
    check_counts(session, with_blocks, 2);                                // those of one token are no new ones
    check_counts(session, {ReuseWay::aside_stored, ReuseWay::aside}, 2);  // the store has the passages of the sweeps before
}

TEST_CASE("Reuse sweep: without a store, passages beside the text are evaluated each time") {
    testing::NullBlockModel null{50};
    Session session{random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 20, .window = 140})};
    const auto check = [](auto& model) {
        for (const ReusePoint& at : points) {
            const ReuseSweep sweep =
                sweep_reuse(model, only(at, {ReuseWay::aside, ReuseWay::aside_stored}, {.repetitions = 2}));
            for (const ReuseRow& row : sweep.rows) CHECK(row.counts.evaluated == by_hand(ReuseWay::aside, at, false, false));
        }
    };
    check(null);
    check(session);
    CHECK(predicted_counts(ReuseWay::aside, points[1]) == ReuseCounts{17 + 21 + 15, 100 - 17});
    CHECK(predicted_counts(ReuseWay::aside_stored, points[1]) == ReuseCounts{17 + 15, 100 - 17 + 21});
    testing::NullModel text_alone{50};
    check_error(ErrorCode::contract, "the way aside-stored needs a model that holds passages beside its text (BlockModel)",
                [&] {
                    sweep_reuse(text_alone, only(points[0], {ReuseWay::append, ReuseWay::aside_stored}, {}));
                });
}

TEST_CASE("Reuse sweep: a store of prefixes finds the text in front of the last passages, in each repetition anew") {
    const auto model = random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 5000, .window = 140});
    const auto pages = std::make_shared<KVPagePool>(PagedSession::cache_shape(model));
    for (const std::size_t kept_pages : {8u, 1000u}) {  // what stays of earlier texts is not found, in later sweeps neither
        CAPTURE(kept_pages);
        PagedSession session{model, {}, nullptr, [&](const KVShape& shape) { return PagedKVCache{shape, pages}; }};
        PrefixStore store{pages, kept_pages * pages->page_bytes()};
        PrefixCached cached{session, store};
        check_counts(cached, {ReuseWay::prefix_store});
    }
}

TEST_CASE("Reuse sweep: more found passages than Sticky leaves in place") {
    testing::NullModel model{50};
    const ReusePoint at{.history = 50, .stride = 4, .passage = 2, .k = 70};
    for (const bool found_again : {false, true}) {
        const ReuseOptions how{.found_again = found_again, .repetitions = 1};
        const ReuseSweep sweep = sweep_reuse(model, only(at, {ReuseWay::sticky}, how));
        // 64 passages stand; six, and the stride after them, are read again.
        CHECK(sweep.rows.at(0).counts.evaluated == (found_again ? 4 + 6 * 2 : 4 + 70 * 2) + 3);
        CHECK(sweep.rows.at(0).counts == predicted_counts(ReuseWay::sticky, at, how));
    }
}

TEST_CASE("Reuse sweep: rows stand axis by axis, value by value and way by way, and the base is measured once") {
    testing::NullModel model{50};
    const ReuseSweepOptions options{.ways = {ReuseWay::prepend, ReuseWay::append},
                                    .base = {.history = 64, .stride = 8, .passage = 16, .k = 1},
                                    .history = {32, 64},
                                    .stride = {8, 4},
                                    .passage = {},
                                    .k = {1, 2}};
    std::size_t measured = 0;
    const ReuseSweep sweep = sweep_reuse(model, options, [&](const ReuseRow& row) {
        CHECK(row.seconds.size() == 3);
        ++measured;
    });
    CHECK(measured == 12);
    CHECK(sweep.base == options.base);
    CHECK(sweep.left_out.empty());
    REQUIRE(sweep.rows.size() == 12);
    std::string order;
    for (const ReuseRow& row : sweep.rows) {
        order += std::string{to_string(row.axis)} + ' ' + std::to_string(length_on(row.axis, row.at)) + ' ' +
                 std::string{to_string(row.way)} + ", ";
        ReusePoint point = options.base;
        length_on(row.axis, point) = length_on(row.axis, row.at);
        CHECK(row.at == point);
    }
    CHECK(order ==
          "history 32 prepend, history 32 append, history 64 prepend, history 64 append, stride 8 prepend, stride 8 append, "
          "stride 4 prepend, stride 4 append, k 1 prepend, k 1 append, k 2 prepend, k 2 append, ");
    // The base stands on three axes.
    CHECK(sweep.rows[2].seconds == sweep.rows[4].seconds);
    CHECK(sweep.rows[3].seconds == sweep.rows[9].seconds);
    CHECK(sweep.rows[2].seconds != sweep.rows[0].seconds);
}

TEST_CASE("Reuse sweep: the default axes are powers of two") {
    const ReusePoints all = points_of({}, 1 << 20);
    CHECK(all.left_out.empty());
    CHECK(all.points.size() == 7 + 6 + 5 + 4);
    CHECK(all.points.front().second == ReusePoint{256, 16, 128, 1});
    CHECK(all.points.back().second == ReusePoint{2048, 16, 128, 8});
    CHECK(doublings(4, 128) == std::vector<std::size_t>{4, 8, 16, 32, 64, 128});
    CHECK(doublings(3, 11) == std::vector<std::size_t>{3, 6});
}

TEST_CASE("Reuse sweep: what does not fit into a window is left out in words") {
    const ReusePoints fitting = points_of({}, 1024);
    CHECK(fitting.base == ReusePoint{512, 16, 128, 1});
    REQUIRE(fitting.left_out.size() == 1 + 5 + 1 + 2);
    CHECK(fitting.left_out[0] == "the base history is 512, because 2048 does not fit into the window of 1024 positions");
    CHECK(fitting.left_out[1] == "history 1024 is left out: it needs 1167 positions, but the window has 1024");
    CHECK(fitting.left_out[6] == "passage 512 is left out: it needs 1039 positions, but the window has 1024");
    CHECK(fitting.left_out[8] == "k 8 is left out: it needs 1551 positions, but the window has 1024");
    CHECK(fitting.points.size() == 2 + 6 + 4 + 2);

    const ReusePoints exactly = points_of({.history = {4, 881}, .stride = {}, .passage = {}, .k = {}}, 881 + 128 + 15);
    CHECK(exactly.points.size() == 1);
    CHECK(exactly.left_out.back() == "history 4 is left out: a history of 4 is shorter than the stride of 16");
}

TEST_CASE("Reuse sweep: from which measured history on append is faster") {
    struct Case {
        std::vector<double> append, prepend;  // at 256, 512, 1024
        AppendWins wins;
        std::string sentence;
    };
    for (const Case& c :
         {Case{{1, 1, 1}, {2, 3, 4}, {.from = 256}, "at every measured history, from 256 tokens on"},
          {{2, 1, 1}, {1, 3, 4}, {.from = 512, .loses_at = 256}, "between 256 and 512 tokens"},
          {{1, 2, 1}, {2, 2, 4}, {.from = 1024, .loses_at = 512}, "between 512 and 1024 tokens"},
          {{1, 1, 5}, {2, 2, 4}, {.loses_at = 1024}, "not faster than prepend at the longest measured history, 1024"},
          {{1, 0, 1}, {2, 2, 4}, {.from = 256}, "from 256 tokens on"},  // one is missing at 512
          {{}, {2, 2, 4}, {}, "were not both measured"}}) {
        CAPTURE(c.sentence);
        std::vector<ReuseRow> rows;
        const auto add = [&](ReuseWay way, const std::vector<double>& seconds) {
            for (std::size_t i = 0; i < seconds.size(); ++i) {
                if (seconds[i] == 0) continue;
                rows.push_back({.way = way, .at = {.history = std::size_t{256} << i}, .seconds = {seconds[i] + 1, seconds[i]}});
            }
        };
        add(ReuseWay::append, c.append);
        add(ReuseWay::prepend, c.prepend);
        // On another axis append loses.
        rows.push_back({.axis = ReuseAxis::k, .way = ReuseWay::append, .at = {.history = 256}, .seconds = {9}});
        CHECK(append_wins_from(rows) == c.wins);
        CHECK(doctest::String{sentence_of(append_wins_from(rows)).c_str()} == doctest::Contains(c.sentence.c_str()));
    }
}

TEST_CASE("Reuse sweep: what cannot be measured is refused in words") {
    testing::NullModel null{50};
    check_error(ErrorCode::contract, "0 for the stride, expected at least 1", [&] { sweep_reuse(null, {.stride = {4, 0}}); });
    check_error(ErrorCode::contract, "0 for the k", [&] { sweep_reuse(null, {.base = {.k = 0}}); });
    check_error(ErrorCode::contract, "each point 0 times", [&] { sweep_reuse(null, {.how = {.repetitions = 0}}); });
    check_error(ErrorCode::contract, "no ways", [&] { sweep_reuse(null, {.ways = {}}); });
    check_error(ErrorCode::contract, "prefix-store needs a model that counts its work()", [&] {
        sweep_reuse(null, {.ways = {ReuseWay::append, ReuseWay::prefix_store}});
    });
    check_error(ErrorCode::window, "measures nothing: no axis has values",
                [&] { sweep_reuse(null, {.history = {}, .stride = {}, .passage = {}, .k = {}}); });
    testing::NullModel tiny{2};
    check_error(ErrorCode::contract, "a vocabulary of at least 3 tokens, found 2", [&] { sweep_reuse(tiny); });
    Session session{random_model({.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .vocab = 20, .window = 50})};
    check_error(ErrorCode::window, "measures nothing: k 8 is left out: it needs 1055 positions, but the window has 50",
                [&] { sweep_reuse(session); });
}

}  // namespace test_measure_reuse_sweep

#include "flashback/core/any_retriever.hpp"
#include "flashback/retrieval/cached.hpp"
#include "flashback/retrieval/union.hpp"

#include "flashback/core/random.hpp"
#include "retrieval/fake_retrievers.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_wrappers_union {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
const std::vector<TokenId> tokens{1};
const Query query{tokens};
using Ids = std::vector<std::string>;

Listed list_of(const std::vector<std::pair<std::string, float>>& hits) {
    Listed listed;
    for (const auto& hit : hits) listed.passages.push_back(passage_named(hit.first, hit.second));
    return listed;
}

/// The worth of scores by the rule of MinMaxScores.
std::vector<double> worth_of(const std::vector<float>& scores) {
    std::vector<Passage> answer;
    for (const float score : scores) answer.push_back({.score = score});
    std::vector<double> worth(scores.size(), -7);
    MinMaxScores{}(answer, worth);
    return worth;
}

struct Hinted : Echo {
    std::vector<std::size_t> hints = {};
    bool there = false;
    void prefetch(const Query&, std::size_t k) { hints.push_back(k); }
    bool ready() const { return there; }
};

struct FellBack : Echo {
    static constexpr bool reads_context = true;
    bool late = false;
    bool fell_back() const { return late; }
};

}  // namespace

TEST_CASE("ranks are fused as in the paper: 1 / (60 + rank), summed") {
    Listed a = list_of({{"x", 9}, {"y", 8}, {"z", 7}}), b = list_of({{"y", 0.5f}, {"w", 0.4f}, {"x", 0.3f}});
    Union both{ReciprocalRank{}, std::ref(a), std::ref(b)};
    static_assert(checked_retriever<decltype(both)>() && !PrefetchingRetriever<decltype(both)>);
    const auto found = both.retrieve(query, 9);
    CHECK(ids_of(found) == Ids{"y", "x", "w", "z"});
    CHECK(found[0].score == doctest::Approx(1.0 / 62 + 1.0 / 61));
    CHECK(found[1].score == doctest::Approx(1.0 / 61 + 1.0 / 63));
    CHECK(found[2].score == doctest::Approx(1.0 / 62));
    CHECK(found[3].score == doctest::Approx(1.0 / 63));
    CHECK(found[0].text == "the text of y");
    CHECK(a.depths == std::vector<std::size_t>{100});
    CHECK(ids_of(both.retrieve(query, 2)) == Ids{"y", "x"});
    CHECK(both.retrieve(query, 0).empty());
    both.retrieve(query, 200);
    CHECK(a.depths.back() == 200);
    CHECK(b.depths.back() == 200);
}

TEST_CASE("weight and depth are those of each retriever, and another k weighs ranks otherwise") {
    Listed a = list_of({{"x", 9}, {"y", 8}}), b = list_of({{"y", 1}, {"z", 1}, {"w", 1}});
    Union weighted{ReciprocalRank{0}, UnionPart{std::ref(a), {.weight = 3, .depth = 5}}, UnionPart{std::ref(b), {.depth = 2}}};
    const auto found = weighted.retrieve(query, 1);
    CHECK(ids_of(found) == Ids{"x"});
    CHECK(found[0].score == 3);
    CHECK(a.depths == std::vector<std::size_t>{5});
    CHECK(b.depths == std::vector<std::size_t>{2});
    CHECK(ids_of(weighted.retrieve(query, 2)) == Ids{"x", "y"});
    CHECK(weighted.retrieve(query, 2)[1].score == 3.0f / 2 + 1);
    CHECK(ids_of(weighted.retrieve(query, 4)) == Ids{"x", "y", "z", "w"});  // now deep enough
    Union muted{ReciprocalRank{}, UnionPart{std::ref(a), {.weight = 0}}, std::ref(b)};
    CHECK(ids_of(muted.retrieve(query, 9)) == Ids{"y", "z", "w", "x"});
}

TEST_CASE("scores are moved and scaled to 0 and 1; equal ones, and one alone, are 1") {
    CHECK(worth_of({4, 3, 2}) == std::vector<double>{1, 0.5, 0});
    CHECK(worth_of({-1, -5, -3}) == std::vector<double>{1, 0, 0.5});  // any order
    CHECK(worth_of({7}) == std::vector<double>{1});
    CHECK(worth_of({0, 0, 0}) == std::vector<double>{1, 1, 1});
    CHECK(worth_of({}).empty());
    CHECK(worth_of({4, nan, 2, 3}) == std::vector<double>{1, 0, 0, 0.5});
    CHECK(worth_of({nan}) == std::vector<double>{0});
    CHECK(worth_of({inf, 4, 2, -inf}) == std::vector<double>{1, 1, 0, 0});
    CHECK(worth_of({inf, nan}) == std::vector<double>{1, 0});
    CHECK(worth_of({3e38f, 0, -3e38f}) == std::vector<double>{1, 0.5, 0});  // their difference is no float
    CHECK(worth_of({1e-45f, 0}) == std::vector<double>{1, 0});
}

TEST_CASE("a weighted sum of scores, in which what is not found is worth nothing") {
    Listed a = list_of({{"x", 30}, {"y", 20}, {"z", 10}}), b = list_of({{"z", 0.9f}, {"y", 0.6f}, {"w", 0.5f}});
    Union both{MinMaxScores{}, UnionPart{std::ref(a), {.weight = 0.4}}, UnionPart{std::ref(b), {.weight = 0.6}}};
    const auto found = both.retrieve(query, 9);
    CHECK(ids_of(found) == Ids{"z", "x", "y", "w"});
    CHECK(found[0].score == doctest::Approx(0.6));
    CHECK(found[1].score == doctest::Approx(0.4));
    CHECK(found[2].score == doctest::Approx(0.4 * 0.5 + 0.6 * 0.25));
    CHECK(found[3].score == 0);
}

TEST_CASE("ties: the earlier retriever first, then the better rank; always the same") {
    Listed a = list_of({{"x", 1}, {"y", 1}}), b = list_of({{"p", 1}, {"q", 1}});
    Union both{MinMaxScores{}, std::ref(a), std::ref(b)};
    for (int i = 0; i < 3; ++i) CHECK(ids_of(both.retrieve(query, 4)) == Ids{"x", "y", "p", "q"});
    Union turned{MinMaxScores{}, std::ref(b), std::ref(a)};
    CHECK(ids_of(turned.retrieve(query, 3)) == Ids{"p", "q", "x"});
    Union ranks{ReciprocalRank{}, std::ref(b), std::ref(a)};
    CHECK(ids_of(ranks.retrieve(query, 4)) == Ids{"p", "x", "q", "y"});
}

TEST_CASE("the same passage is one hit: by id, or by text and tokens; twice in one answer it counts once") {
    Listed a = list_of({{"x", 5}, {"x", 4}, {"", 3}}), b = list_of({{"", 2}, {"x", 1}});
    a.passages[0].text = "of the first";
    Union both{ReciprocalRank{0}, std::ref(a), std::ref(b)};
    const auto found = both.retrieve(query, 9);
    REQUIRE(found.size() == 2);
    CHECK(found[0].id == "x");
    CHECK(found[0].text == "of the first");
    CHECK(found[0].score == 1.5f);
    CHECK(found[1].score == doctest::Approx(1.0 / 3 + 1));
    b.passages[0].tokens = {7};
    CHECK(both.retrieve(query, 9).size() == 3);
    b.passages[0] = passage_named("", 2, "x");  // the text of one is the id of another
    CHECK(both.retrieve(query, 9).size() == 3);
}

TEST_CASE("rules of your own, worth that is not a number, and errors") {
    Listed a = list_of({{"x", 5}, {"y", 4}}), b = list_of({});
    const auto rule = [](std::span<const Passage> answer, std::span<double> worth) {
        for (std::size_t i = 0; i < answer.size(); ++i) worth[i] = answer[i].id == "x" ? std::nan("") : 2;
    };
    Union odd{rule, std::ref(a), std::ref(b)};
    CHECK(ids_of(odd.retrieve(query, 9)) == Ids{"y", "x"});
    CHECK(odd.retrieve(query, 9)[1].score == 0);
    Union alone{ReciprocalRank{}, std::ref(b)};
    CHECK(alone.retrieve(query, 3).empty());
    Echo failing;
    failing.before = [](std::size_t call) {
        if (call == 1) throw std::domain_error{"gone"};
    };
    Union broken{ReciprocalRank{}, std::ref(a), std::ref(failing)};
    CHECK_THROWS_AS(broken.retrieve(query, 2), std::domain_error);
    CHECK(broken.retrieve(query, 200).size() == 200);
    CHECK_THROWS_AS(ReciprocalRank{-1.0}, Error);
    CHECK_THROWS_AS(ReciprocalRank{std::nan("")}, Error);
    CHECK_THROWS_AS((UnionPart{Listed{}, {.weight = -1}}), Error);
    CHECK_THROWS_AS((UnionPart{Listed{}, {.weight = static_cast<double>(inf)}}), Error);
}

TEST_CASE("members of those that have them: hints, readiness, work, a fallback, the context") {
    Hinted hinted;
    FellBack late;
    late.evaluates = 5;
    hinted.evaluates = 2;
    Union both{ReciprocalRank{}, std::ref(late), UnionPart{std::ref(hinted), {.depth = 7}}};
    static_assert(PrefetchingRetriever<decltype(both)> && decltype(both)::reads_context);
    static_assert(checked_retriever<decltype(both)>());
    both.prefetch(query, 3);
    both.prefetch(query, 30);
    CHECK(hinted.hints == std::vector<std::size_t>{7, 30});
    CHECK_FALSE(both.ready());
    hinted.there = true;
    CHECK(both.ready());
    both.retrieve(query, 1);
    CHECK(both.work() == 7);
    CHECK_FALSE(both.fell_back());
    late.late = true;
    CHECK(both.fell_back());
    late.late = false;
    AnyRetriever any{Cached{std::move(both)}};
    CHECK(any.retrieve(query, 1).size() == 1);
    CHECK(any.work() == 14);
}

TEST_CASE("what is found is the same as by plain sums over a table, for random answers") {
    SplitMix64 random{5};
    for (int round = 0; round < 200; ++round) {
        Listed lists[3];
        std::map<std::string, double> sums;
        std::vector<std::string> order;
        const double weights[3] = {1, 0.5, 2};
        for (std::size_t i = 0; i < 3; ++i) {
            Ids ids;
            for (std::size_t n = random.below(8); n > 0; --n) {
                const std::string id = std::to_string(random.below(10));
                if (std::ranges::count(ids, id) > 0) continue;
                ids.push_back(id);
                lists[i].passages.push_back(passage_named(id));
                if (std::ranges::count(order, id) == 0) order.push_back(id);
                sums[id] += weights[i] / (60.0 + static_cast<double>(ids.size()));
            }
        }
        std::ranges::stable_sort(order, [&](const std::string& a, const std::string& b) { return sums[a] > sums[b]; });
        Union all{ReciprocalRank{}, UnionPart{std::ref(lists[0])}, UnionPart{std::ref(lists[1]), {.weight = 0.5}},
                  UnionPart{std::ref(lists[2]), {.weight = 2}}};
        CHECK(ids_of(all.retrieve(query, 100)) == order);
    }
}

}  // namespace test_retrieval_wrappers_union

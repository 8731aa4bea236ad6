// Ranks: what one has all get, sums are added in the order of ranks, and ranks that differ are refused.
#include "flashback/core/ranks.hpp"

#include "support/errors.hpp"
#include "support/thread_ranks.hpp"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_ranks {

using namespace flashback;
using namespace flashback_test;

static_assert(Ranks<ThreadRank>);
static_assert(!Ranks<int>);

TEST_CASE("by default there is one process, which needs no messages") {
    const RanksRef one;
    CHECK(one.rank() == 0);
    CHECK(one.size() == 1);
    CHECK(one.first());
    CHECK(one.owner(7) == 0);
    CHECK(one.mine(7));
    CHECK(one.share(5, 0) == std::pair<std::size_t, std::size_t>{0, 5});
    std::vector<int> values{1, 2};
    one.broadcast_all(values);
    std::vector<float> sum(3);
    one.add_in_order(sum, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) sum[i] += 1;
    });
    CHECK(sum == std::vector<float>{1, 1, 1});
    check_agreement(one, {{"command", "test"}});
}

TEST_CASE("shares cover everything, and differ by one at most") {
    for (const std::size_t count : {0u, 1u, 7u, 64u}) {
        on_ranks(3, [&](RanksRef ranks) {
            std::size_t end = 0;
            for (std::size_t r = 0; r < 3; ++r) {
                const auto share = ranks.share(count, r);
                CHECK(share.first == end);
                CHECK(share.second - share.first <= (count + 2) / 3);
                end = share.second;
            }
            CHECK(end == count);
            return 0;
        });
    }
}

TEST_CASE("what one rank has all get, in one message or in several") {
    for (const std::size_t size : {0u, 1u, 5u, 300001u}) {
        for (const std::size_t from : {0u, 1u, 2u}) {
            std::vector<std::uint64_t> expected(size);
            std::iota(expected.begin(), expected.end(), 17);
            for (const auto& found : on_ranks(3, [&](RanksRef ranks) {
                     std::vector<std::uint64_t> values;
                     if (ranks.rank() == from) values = expected;
                     ranks.broadcast_all(values, from);
                     return values;
                 }))
                CHECK((found == expected));
        }
    }
}

TEST_CASE("terms are added in the order of ranks, to what rank 0 has") {
    constexpr std::size_t size = 600000;  // three messages
    for (const auto& found : on_ranks(3, [&](RanksRef ranks) {
             std::vector<float> sum(size, ranks.first() ? 1e8f : 0.0f);
             const float mine[] = {-1e8f, 1, 2e-8f};  // another order gives other bits
             ranks.add_in_order(sum, [&](std::size_t begin, std::size_t end) {
                 for (std::size_t i = begin; i < end; ++i) sum[i] += mine[ranks.rank()];
             });
             return sum;
         }))
        CHECK((found == std::vector<float>(size, (1e8f - 1e8f) + 1 + 2e-8f)));
}

TEST_CASE("ranks that differ are refused with a sentence that names the rank and the thing") {
    const auto agree = [](std::size_t who, const RankFacts& other) {
        on_ranks(3, [&](RanksRef ranks) {
            check_agreement(ranks, ranks.rank() == who ? other : RankFacts{{"model", "4f"}, {"lr", "0.01"}});
            return 0;
        });
    };
    agree(1, {{"model", "4f"}, {"lr", "0.01"}});
    check_error(ErrorCode::contract, "rank 2 differs from rank 0: its lr is 0.02, but that of rank 0 is 0.01", [&] {
        agree(2, {{"model", "4f"}, {"lr", "0.02"}});
    });
    check_error(ErrorCode::contract, "rank 1 differs from rank 0: its model is , but that of rank 0 is 4f", [&] {
        agree(1, {{"model", ""}, {"lr", "0.01"}});
    });
    check_error(ErrorCode::contract, "rank 1 does something else than rank 0", [&] { agree(1, {{"text", "4f"}}); });
    check_error(ErrorCode::contract, "rank 1 does something else than rank 0", [&] {
        agree(1, {{"model", "4f"}, {"lr", "0.01"}, {"more", "1"}});
    });
    check_error(ErrorCode::contract, "rank 1 does something else than rank 0", [&] { agree(1, {}); });
}

}  // namespace test_core_ranks

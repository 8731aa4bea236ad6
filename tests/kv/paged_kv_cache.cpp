// Pages of keys and values: what branches share, when they copy, and what a budget refuses.
#include "flashback/kv/paged_kv_cache.hpp"

#include "flashback/core/random.hpp"
#include "flashback/kv/copy_positions.hpp"
#include "support/errors.hpp"

#include <atomic>
#include <cmath>
#include <cstddef>
#include <memory>
#include <new>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_kv_paged_kv_cache {

using namespace flashback;
using flashback_test::check_error;

namespace {

constexpr KVShape shape{.layers = 2, .kv_heads = 3, .head_dim = 5, .positions = 330};

/// Fills the rows of a position with numbers that every element holds exactly.
void write(PagedKVCache& cache, std::size_t position, int mark) {
    const KVShape its = cache.shape();
    std::vector<float> key(its.head_dim);
    std::vector<float> value(its.head_dim);
    for (std::size_t layer = 0; layer < its.layers; ++layer) {
        for (std::size_t head = 0; head < its.kv_heads; ++head) {
            for (std::size_t i = 0; i < its.head_dim; ++i) {
                key[i] = static_cast<float>(mark % 16) + static_cast<float>(layer + head + i) / 8;
                value[i] = -key[i];
            }
            cache.write(layer, head, position, key.data(), value.data());
        }
    }
}

void add(PagedKVCache& cache, const std::vector<int>& marks) {
    const std::size_t size = cache.size();
    cache.reserve(size + marks.size());
    for (std::size_t i = 0; i < marks.size(); ++i) write(cache, size + i, marks[i]);
    cache.commit(size + marks.size());
}

bool holds(const PagedKVCache& cache, const std::vector<int>& marks) {
    if (cache.size() != marks.size()) return false;
    bool same = true;
    const float off = cache.shape().element == DType::i8 ? 16.0f / 127 : 0;  // half a step, twice
    each_position(cache, {0, marks.size()},
                  [&](std::size_t layer, std::size_t head, std::size_t p, const float* k, const float* v) {
                      for (std::size_t i = 0; i < cache.shape().head_dim; ++i) {
                          const float expected = static_cast<float>(marks[p] % 16) + static_cast<float>(layer + head + i) / 8;
                          same = same && std::fabs(k[i] - expected) <= off && std::fabs(v[i] + expected) <= off;
                      }
                  });
    return same;
}

std::vector<int> random_marks(SplitMix64& random, std::size_t count) {
    std::vector<int> marks;
    for (std::size_t i = 0; i < count; ++i) marks.push_back(static_cast<int>(random.below(1000)));
    return marks;
}

std::size_t pages_of(std::size_t positions) { return (positions + 63) / 64; }

}  // namespace

TEST_CASE("a fork shares pages, and copies the last one when it goes its own way") {
    const auto pool = std::make_shared<KVPagePool>(shape);
    PagedKVCache trunk{shape, pool};
    SplitMix64 random{1};
    const std::vector<int> marks = random_marks(random, 100);
    add(trunk, marks);
    CHECK(pool->used_bytes() == 2 * pool->page_bytes());
    CHECK(pool->page_bytes() == std::size_t{2} * 3 * 64 * 5 * 2 * 4);

    PagedKVCache branch = trunk.fork();
    CHECK(pool->used_bytes() == 2 * pool->page_bytes());
    CHECK(branch.bytes() == 2 * pool->page_bytes());
    CHECK(branch.tile(0, 0, 1).keys == trunk.tile(0, 0, 1).keys);

    std::vector<int> longer = marks;
    longer.push_back(7);
    add(branch, {7});  // in the second page, of which the trunk holds 36 positions
    CHECK(pool->used_bytes() == 3 * pool->page_bytes());
    CHECK(branch.tile(0, 0, 0).keys == trunk.tile(0, 0, 0).keys);
    CHECK(branch.tile(0, 0, 1).keys != trunk.tile(0, 0, 1).keys);
    CHECK(holds(trunk, marks));
    CHECK(holds(branch, longer));

    std::vector<int> other = marks;
    other.push_back(8);
    add(trunk, {8});  // nobody else holds its page now: nothing is copied
    CHECK(pool->used_bytes() == 3 * pool->page_bytes());
    CHECK(holds(trunk, other));
    CHECK(holds(branch, longer));
    branch.truncate(64);
    CHECK(pool->used_bytes() == 2 * pool->page_bytes());
    add(branch, {9});  // a full page is never copied
    CHECK(pool->used_bytes() == 3 * pool->page_bytes());
    CHECK(branch.tile(1, 2, 0).values == trunk.tile(1, 2, 0).values);
}

TEST_CASE(
    "random appends, cuts, forks and drops, in every element: all branches hold what they were given, and pages are counted") {
    for (const DType element : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
        KVShape its = shape;
        its.element = element;
        CAPTURE(layout_of(element).name);
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            SplitMix64 random{seed};
            const auto pool = std::make_shared<KVPagePool>(its);
            std::vector<std::pair<PagedKVCache, std::vector<int>>> branches;
            branches.emplace_back(PagedKVCache{its, pool}, std::vector<int>{});
            for (int step = 0; step < 60; ++step) {
                const std::size_t chosen = random.below(branches.size());
                auto& [cache, marks] = branches[chosen];
                const std::size_t action = random.below(8);
                if (action == 0) {
                    marks.resize(random.below(marks.size() + 1));
                    cache.truncate(marks.size());
                } else if (action == 1 && branches.size() < 6) {
                    auto copy = std::pair{cache.fork(), marks};
                    branches.push_back(std::move(copy));
                } else if (action == 2 && branches.size() > 1) {
                    branches.erase(branches.begin() + static_cast<std::ptrdiff_t>(chosen));
                } else if (action == 3) {
                    cache.reserve(std::min(marks.size() + 100, its.positions));  // and never written
                    cache.truncate(marks.size());
                } else {
                    const std::size_t room = its.positions - marks.size();
                    const std::vector<int> more = random_marks(random, std::min(room, 1 + random.below(90)));
                    add(cache, more);
                    marks.insert(marks.end(), more.begin(), more.end());
                }
                std::set<const std::byte*> pages;
                for (const auto& branch : branches) {
                    REQUIRE(holds(branch.first, branch.second));
                    REQUIRE(branch.first.bytes() == pages_of(branch.second.size()) * pool->page_bytes());
                    for (std::size_t t = 0; t < pages_of(branch.second.size()); ++t)
                        pages.insert(branch.first.tile(0, 0, t).keys);
                }
                REQUIRE(pool->used_bytes() == pages.size() * pool->page_bytes());
                REQUIRE(pool->used_bytes() <= pool->bytes());
            }
            branches.clear();
            CHECK(pool->used_bytes() == 0);
        }
    }
}

TEST_CASE("a budget is checked before anything is written, and what does not fit changes nothing") {
    const std::size_t page = KVPagePool{shape}.page_bytes();
    const auto pool = std::make_shared<KVPagePool>(shape, KVPagePoolOptions{.budget = 3 * page + page / 2});
    PagedKVCache trunk{shape, pool};
    SplitMix64 random{2};
    const std::vector<int> marks = random_marks(random, 150);
    add(trunk, marks);
    check_error(ErrorCode::window, "has 0 of 3 pages left, and a budget of", [&] { trunk.reserve(193); });
    CHECK(holds(trunk, marks));
    PagedKVCache branch = trunk.fork();
    check_error(ErrorCode::window, "1 pages of", [&] { branch.reserve(151); });  // its last page would have to be copied
    CHECK(holds(branch, marks));
    CHECK(branch.tile(0, 0, 2).keys == trunk.tile(0, 0, 2).keys);
    CHECK(pool->used_bytes() == 3 * page);
    trunk.truncate(64);
    branch.reserve(151);  // the page is its own now
    CHECK(pool->bytes() == 3 * page);

    check_error(ErrorCode::contract, "a pool reserves 2 bytes, but its budget is 1", [] {
        KVPagePool{shape, {.budget = 1, .reserved = 2}};
    });
    const auto reserved = std::make_shared<KVPagePool>(shape, KVPagePoolOptions{.budget = 5 * page, .reserved = 5 * page});
    CHECK(reserved->bytes() == 5 * page);
    CHECK(reserved->used_bytes() == 0);
    PagedKVCache cache{shape, reserved};
    cache.reserve(320);
    CHECK(reserved->bytes() == 5 * page);
    cache.truncate(0);
    CHECK(reserved->used_bytes() == 0);
}

TEST_CASE("what is wrong is said in words") {
    const auto pool = std::make_shared<KVPagePool>(shape);
    KVShape other = shape;
    other.head_dim = 6;
    check_error(ErrorCode::contract,
                "a pool of pages for 2 layers, 3 heads of 5 and F32 is not for a cache of 2, 3 heads of 6 and F32", [&] {
                    PagedKVCache{other, pool};
                });
    check_error(ErrorCode::contract, "needs a pool, found null", [&] { PagedKVCache{shape, nullptr}; });
    other.element = DType::q8_0;
    check_error(ErrorCode::contract, "a KV cache of Q8_0, expected F32, F16, BF16 or I8", [&] { PagedKVCache{other}; });
    PagedKVCache cache{shape};
    add(cache, {1, 2, 3});
    check_error(ErrorCode::contract, "a KV cache of 3 positions cannot be cut to 4", [&] { cache.truncate(4); });
    CHECK(holds(cache, {1, 2, 3}));
    constexpr std::size_t many = std::size_t{1} << 20;
    CHECK_THROWS_AS((PagedKVCache{{.layers = many, .kv_heads = many * many, .head_dim = 2, .positions = 1}}), std::bad_alloc);
}

TEST_CASE("a cache that was moved from holds nothing, and one that is assigned to gives its pages back") {
    const auto pool = std::make_shared<KVPagePool>(shape);
    PagedKVCache a{shape, pool};
    add(a, {1, 2, 3});
    PagedKVCache b{std::move(a)};
    CHECK(holds(b, {1, 2, 3}));
    CHECK(a.size() == 0);  // NOLINT(bugprone-use-after-move): this is what is tested
    add(a, {4});
    CHECK(pool->used_bytes() == 2 * pool->page_bytes());
    b = std::move(a);
    CHECK(holds(b, {4}));
    CHECK(pool->used_bytes() == pool->page_bytes());
    CHECK(b.sibling().size() == 0);
    CHECK(b.sibling().pool() == pool);
}

TEST_CASE("branches of one trunk in several threads: each writes, cuts and forks its own") {
    const auto pool = std::make_shared<KVPagePool>(shape);
    PagedKVCache trunk{shape, pool};
    SplitMix64 random{3};
    const std::vector<int> marks = random_marks(random, 200);
    add(trunk, marks);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&wrong, marks, t, branch = trunk.fork()]() mutable {
            SplitMix64 mine{t};
            std::vector<int> held = marks;
            for (int i = 0; i < 50; ++i) {
                held.resize(mine.below(held.size() + 1));
                branch.truncate(held.size());
                PagedKVCache second = branch.fork();
                const std::vector<int> more = random_marks(mine, std::min<std::size_t>(90, shape.positions - held.size()));
                add(branch, more);
                if (!holds(second, held)) ++wrong;
                held.insert(held.end(), more.begin(), more.end());
                if (!holds(branch, held)) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(holds(trunk, marks));
}

}  // namespace test_kv_paged_kv_cache

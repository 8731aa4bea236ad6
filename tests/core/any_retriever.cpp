#include "flashback/core/any_retriever.hpp"

#include "support/allocations.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_any_retriever {

using namespace flashback;

namespace {

constexpr std::array<TokenId, 2> tokens{8, 9};
constexpr Query query{tokens};

static_assert(Retriever<AnyRetriever> && std::copyable<AnyRetriever>);
static_assert(std::is_nothrow_move_constructible_v<AnyRetriever> && std::is_nothrow_move_assignable_v<AnyRetriever>);
static_assert(std::is_trivially_copyable_v<Passage> && std::is_trivially_copyable_v<Query>);
static_assert(std::is_empty_v<NoPassages>&& noexcept(NoPassages::retrieve(query, 1)));

/// Gives k passages that say how often it was asked, and remembers the query.
struct Counting {
    std::size_t calls = 0;
    std::vector<TokenId> asked = {};
    std::vector<Passage> found = {};

    std::span<const Passage> retrieve(const Query& given, std::size_t k) {
        ++calls;
        asked.assign(given.tokens.begin(), given.tokens.end());
        found.assign(k,
                     Passage{.id = "counting", .title = "", .text = "", .tokens = tokens, .score = static_cast<float>(calls)});
        return found;
    }
};

/// As mean as the concept allows: no copies, an answer by value, a const call.
struct MoveOnly {
    std::unique_ptr<float> score = std::make_unique<float>(7.0f);
    std::vector<Passage> retrieve(const Query&, std::size_t k) const {
        return std::vector<Passage>(k, Passage{.id = "", .title = "", .text = "", .tokens = {}, .score = *score});
    }
};

struct Failing {
    static std::vector<Passage> retrieve(const Query&, std::size_t) { throw std::runtime_error("the index is gone"); }
};

}  // namespace

TEST_CASE("without an argument nothing is found") { CHECK(AnyRetriever{}.retrieve(query, 3).empty()); }

TEST_CASE("queries and answers pass through") {
    auto counting = std::make_shared<Counting>();
    AnyRetriever any{std::ref(*counting)};
    for (std::size_t k : {0u, 1u, 5u, 2u}) {
        const std::span<const Passage> found = any.retrieve(query, k);
        REQUIRE(found.size() == k);
        for (const Passage& passage : found) {
            CHECK(passage.id == "counting");
            CHECK(passage.score == static_cast<float>(counting->calls));
            CHECK(passage.tokens.data() == tokens.data());
        }
        CHECK(std::ranges::equal(counting->asked, tokens));
    }
    CHECK(counting->calls == 4);
}

TEST_CASE("a retriever is owned, and copies share it") {
    AnyRetriever one{Counting{}};
    CHECK(one.retrieve(query, 1)[0].score == 1);
    AnyRetriever two = one;
    CHECK(two.retrieve(query, 1)[0].score == 2);
    CHECK(one.retrieve(query, 1)[0].score == 3);
    one = AnyRetriever{};
    CHECK(one.retrieve(query, 1).empty());
    CHECK(two.retrieve(query, 1)[0].score == 4);
}

TEST_CASE("an answer stays valid when the other copy is asked") {
    AnyRetriever one{MoveOnly{}};
    AnyRetriever two = one;
    const std::span<const Passage> found = one.retrieve(query, 2);
    CHECK(two.retrieve(query, 9).size() == 9);
    CHECK(found.size() == 2);
    CHECK(found[1].score == 7);
}

TEST_CASE("a retriever that cannot be copied, one that is constant, and one that lives elsewhere will do") {
    AnyRetriever owned{MoveOnly{}};
    CHECK(owned.retrieve(query, 2)[1].score == 7);
    const MoveOnly elsewhere;
    AnyRetriever referring{std::cref(elsewhere)};
    CHECK(referring.retrieve(query, 1)[0].score == 7);
}

TEST_CASE("what a retriever throws passes through, and the next answer is true") {
    AnyRetriever failing{Failing{}};
    CHECK_THROWS_WITH(failing.retrieve(query, 1), "the index is gone");
    CHECK_THROWS_WITH(failing.retrieve(query, 1), "the index is gone");
}

TEST_CASE("a retriever that was moved from is refused in words, and can be assigned to") {
    AnyRetriever one{Counting{}};
    AnyRetriever two = std::move(one);
    CHECK(two.retrieve(query, 1).size() == 1);
    CHECK_THROWS_WITH_AS(one.retrieve(query, 1),  // NOLINT(bugprone-use-after-move): the point of the test
                         "a retriever was used after it was moved from", Error);
    one = two;
    CHECK(one.retrieve(query, 1)[0].score == 2);
}

TEST_CASE("once it has given as many passages, an answer allocates nothing") {
    Counting counting;
    AnyRetriever any{std::ref(counting)};
    any.retrieve(query, 5);
    CHECK(flashback_test::allocations_of([&] {
              for (int i = 0; i < 10; ++i) any.retrieve(query, 5);
          }).calls == 0);
}

}  // namespace test_core_any_retriever

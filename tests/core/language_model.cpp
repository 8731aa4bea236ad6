#include "flashback/core/language_model.hpp"

#include "flashback/testing/null_model.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stop_token>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_language_model {

using namespace flashback;

namespace {

struct Meanest {
    std::size_t held = 0;

    std::span<const float> evaluate(TokenSpan tokens) {
        held += tokens.size();
        return {};
    }
    void truncate(std::size_t length) { held = length; }
    std::size_t size() const { return held; }
    std::size_t vocab_size() const { return 0; }
};

struct Richest : Meanest {
    std::array<TokenId, 1> bos{1};

    std::size_t window() const { return 8; }
    TokenSpan head() const { return bos; }
    static bool is_end(TokenId token) { return token == 2; }
    static std::uint64_t fingerprint() { return 3; }
    TokenSpan tokens() const { return bos; }
    Richest fork() const { return *this; }
    std::vector<float> evaluate_all(TokenSpan) { return {}; }
};

struct CanStop : Meanest {
    using Meanest::evaluate;
    std::span<const float> evaluate(TokenSpan, std::stop_token) { return {}; }
};

struct WithoutTruncate {
    std::span<const float> evaluate(TokenSpan);
    std::size_t size() const;
    std::size_t vocab_size() const;
};

struct SizeChangesIt : Meanest {
    std::size_t size() { return held; }
};

struct WindowIsText : Meanest {
    static const char* window() { return "wide"; }
};

static_assert(LanguageModel<Meanest> && !ForkableModel<Meanest> && !ScoringModel<Meanest> && !RemembersTokens<Meanest> &&
              !FingerprintedModel<Meanest>);
static_assert(LanguageModel<Richest> && ForkableModel<Richest> && RemembersTokens<Richest> && FingerprintedModel<Richest>);
static_assert(InterruptibleModel<CanStop> && !InterruptibleModel<Meanest> && !InterruptibleModel<Richest>);
static_assert(!LanguageModel<WithoutTruncate> && !LanguageModel<SizeChangesIt> && !LanguageModel<int>);

}  // namespace

TEST_CASE("what a model does not say has a default") {
    const Meanest model;
    CHECK(window_of(model) == std::numeric_limits<std::size_t>::max());
    CHECK(head_of(model).empty());
    CHECK_FALSE(is_end_of(model, 2));
    CHECK(window_of(WindowIsText{}) == std::numeric_limits<std::size_t>::max());
}

TEST_CASE("what a model says is taken") {
    const Richest model;
    CHECK(window_of(model) == 8);
    REQUIRE(head_of(model).size() == 1);
    CHECK(head_of(model)[0] == 1);
    CHECK(is_end_of(model, 2));
    CHECK_FALSE(is_end_of(model, 3));
}

TEST_CASE("the null model of the library is cut to what it holds at most") {
    testing::NullModel model{5};
    model.evaluate(std::array<TokenId, 3>{1, 2, 3});
    CHECK_THROWS_WITH_AS(model.truncate(4), "a model of 3 tokens cannot be cut to 4", Error);
    CHECK(model.size() == 3);
    model.truncate(1);
    CHECK(model.size() == 1);
}

}  // namespace test_core_language_model

#include "flashback/policy/presets.hpp"

#include <array>
#include <concepts>
#include <cstddef>

#include <doctest/doctest.h>

namespace test_policy_presets {

using namespace flashback;

namespace {

constexpr auto aside_preset = presets::passages_aside();
constexpr auto flashback_preset = presets::flashback(100, 101);
constexpr auto ralm_preset = presets::in_context_ralm();
static_assert(std::same_as<decltype(aside_preset), const Policies<EveryNTokens, LastNTokens, NoMarkers, PassagesAside>>);
static_assert(std::same_as<decltype(flashback_preset), const Policies<EveryNTokens, LastNTokens, MarkerTokens, Sticky>>);
static_assert(std::same_as<decltype(ralm_preset), const Policies<EveryNTokens, LastNTokens, NoMarkers, PrependPassages>>);
static_assert(std::same_as<decltype(presets::closed_book()), Policies<Never>>);

std::size_t query_length(const auto& policies) {
    constexpr std::array<TokenId, 100> context{};
    return policies.query()(StepView{context, 100}).tokens.size();
}

}  // namespace

TEST_CASE(
    "the preset of FlashBack is the paper's: stride 16, query 32, the passage between its markers behind the text, where it "
    "stays") {
    CHECK(flashback_preset.schedule().stride() == 16);
    CHECK(query_length(flashback_preset) == 32);
    CHECK(flashback_preset.wrapper().markers()[0] == 100);
    CHECK(flashback_preset.wrapper().markers()[1] == 101);
    constexpr std::array<TokenId, 1> one{1}, two{2}, three{3};
    const std::array<TokenSpan, 1> passages{two};
    TokenBuffer out;
    flashback_preset.layout()({one, passages, three}, out);
    CHECK(out == TokenBuffer{1, 3, 2});
    constexpr std::array<TokenId, 2> longer{3, 4};
    constexpr std::array<TokenId, 3> standing{1, 3, 2};
    out.clear();
    flashback_preset.layout()({.head = one, .passages = passages, .context = longer, .standing = standing}, out);
    CHECK(out == TokenBuffer{1, 3, 2, 4});
}

TEST_CASE("the preset of passages aside: stride 16, query 32, the passage alone beside the text, for the newest token") {
    CHECK(aside_preset.schedule().stride() == 16);
    CHECK(query_length(aside_preset) == 32);
    CHECK(beside_of(aside_preset.layout()) == AsideOptions{.seeing = 1, .exact = true, .joined = false});
    constexpr std::array<TokenId, 1> one{1}, two{2}, three{3};
    const std::array<TokenSpan, 1> passages{two};
    TokenBuffer out;
    aside_preset.layout()({one, passages, three}, out);
    CHECK(out == TokenBuffer{1, 3});
}

TEST_CASE("the preset of In-Context RALM is the paper's: stride 4, query 32, the passage alone in front of the text") {
    CHECK(ralm_preset.schedule().stride() == 4);
    CHECK(query_length(ralm_preset) == 32);
    constexpr std::array<TokenId, 1> one{1}, two{2}, three{3};
    const std::array<TokenSpan, 1> passages{two};
    TokenBuffer out;
    ralm_preset.layout()({one, passages, three}, out);
    CHECK(out == TokenBuffer{1, 2, 3});
}

TEST_CASE("the preset of PipeRAG: an interval of 16, hints, query 64, behind the text") {
    constexpr auto preset = presets::pipe_rag();
    static_assert(std::same_as<decltype(preset), const Policies<StaleEveryN>>);
    CHECK(preset.schedule().interval() == 16);
    CHECK(query_length(preset) == 64);
}

TEST_CASE("the closed book never retrieves") {
    constexpr std::array<TokenId, 3> context{1, 2, 3};
    for (std::size_t prompt = 0; prompt <= 3; ++prompt)
        CHECK_FALSE(presets::closed_book().schedule()(StepView{context, prompt, 0, 3 - prompt}));
}

TEST_CASE("the presets of methods have their papers' numbers, and passages in front of the text") {
    const auto ends = [](TokenSpan context) { return context.size() > 9; };
    constexpr std::array<TokenId, 1> one{1}, two{2}, three{3};
    const std::array<TokenSpan, 1> passages{two};
    const auto in_front = [&](const auto& policies) {
        TokenBuffer out;
        policies.layout()({one, passages, three}, out);
        return out == TokenBuffer{1, 2, 3};
    };
    CHECK(to_string(presets::flare(ends).method().options()) == "flare(theta:0.8,beta:0.4,look-ahead:64)");
    CHECK(in_front(presets::flare(ends)));
    CHECK(to_string(presets::dragin(ends).method().options()) == "dragin(theta:1,words:25,look-ahead:64)");
    CHECK(in_front(presets::dragin(ends)));
    CHECK(to_string(presets::etc().method().options()) == "etc(alpha:1.3,words:35)");
    CHECK(in_front(presets::etc()));
    CHECK(to_string(presets::ircot(ends).method().options()) == "ircot(steps:8)");
    CHECK(in_front(presets::ircot(ends)));
    CHECK(to_string(presets::self_rag(ends, 5, 6).schedule().options()) == "self-rag(retrieve:5,no-retrieve:6,delta:0.2)");
    CHECK_FALSE(in_front(presets::self_rag(ends, 5, 6)));
}

}  // namespace test_policy_presets

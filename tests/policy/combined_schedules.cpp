#include "flashback/policy/combined_schedules.hpp"

#include "flashback/core/random.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_combined_schedules {

using namespace flashback;

namespace {

constexpr std::array<TokenId, 3> context{5, 6, 7};
constexpr StepView before_first{context, 3};

/// Says what it is told to, and counts how often it is asked and reset.
struct Scripted {
    std::vector<Decision> script;
    std::size_t* asked;
    std::size_t* resets;

    Decision operator()(const StepView&) { return script.at((*asked)++ % script.size()); }
    void reset() const { ++*resets; }
};

/// Retrieves when it is asked the second time.
struct Counting {
    int count = 0;

    bool operator()(const StepView&) { return ++count == 2; }
    void reset() { count = 0; }
};

/// A schedule that takes the place of another exactly where `retrievals` says.
StepView after(std::size_t retrievals, std::size_t since = 0) { return {context, 3, retrievals, since}; }

Decision random_decision(SplitMix64& random) {
    switch (random.below(4)) {
        case 0: return Decision::stop();
        case 1: return Decision::retrieve(random.below(5));
        default: return Decision::go_on();
    }
}

static_assert(RetrievalSchedule<AnyOf<Never, Once>> && RetrievalSchedule<AllOf<Never>> && RetrievalSchedule<AtMost<Once>>);
static_assert(std::is_empty_v<AnyOf<Never, Once>> && std::is_empty_v<AllOf<Once, Never>>);
static_assert(sizeof(AtMost<Never>) == sizeof(std::size_t));
static_assert(sizeof(AnyOf<EveryNTokens, Never>) == sizeof(EveryNTokens));

constexpr bool at_compile_time() {
    auto schedule = any_of(Never{}, all_of(Once{}, EveryNTokens{4}), at_most(2, EveryNTokens{8}));
    schedule.reset();
    return schedule(before_first) == Decision::retrieve();
}
static_assert(at_compile_time());

}  // namespace

TEST_CASE("every schedule is asked once at every step, whatever the others say, and all are reset") {
    SplitMix64 random{11};
    std::array<std::size_t, 4> asked{};
    std::array<std::size_t, 4> resets{};
    std::array<std::vector<Decision>, 4> scripts;
    for (auto& script : scripts) {
        for (int i = 0; i < 100; ++i) script.push_back(random_decision(random));
    }
    const auto scripted = [&](std::size_t i) { return Scripted{scripts[i], &asked[i], &resets[i]}; };
    auto schedule = any_of(scripted(0), all_of(scripted(1), scripted(2)), at_most(0, scripted(3)));
    for (std::size_t step = 0; step < 100; ++step) {
        const Decision said = schedule(before_first);
        for (const std::size_t count : asked) REQUIRE(count == step + 1);

        // What the documentation says, in other words.
        const auto at = [&](std::size_t i) { return scripts[i][step]; };
        const bool all_stop = at(1).stops() && at(2).stops();
        const bool all_act = (at(1).retrieves() || at(1).stops()) && (at(2).retrieves() || at(2).stops());
        REQUIRE(said.stops() == (at(0).stops() || all_stop || at(3).stops()));
        if (said.stops()) continue;
        REQUIRE(said.retrieves() == (at(0).retrieves() || all_act));
        const std::size_t of_all = all_act ? std::max(at(1).rewind(), at(2).rewind()) : 0;
        REQUIRE(said.rewind() == std::max(at(0).rewind(), of_all));
    }
    schedule.reset();
    schedule.reset();
    for (const std::size_t count : resets) CHECK(count == 2);
}

TEST_CASE("one schedule alone says what it says") {
    for (const Decision decision : {Decision::go_on(), Decision::stop(), Decision::retrieve(), Decision::retrieve(3)}) {
        const auto always = [decision](const StepView&) { return decision; };
        CHECK(any_of(always)(before_first) == decision);
        CHECK(all_of(always)(before_first) == decision);
        CHECK(at_most(1, always)(before_first) == decision);
    }
}

TEST_CASE("bools and decisions can be combined") {
    const auto yes = [](const StepView&) { return true; };
    const auto rewinding = [](const StepView&) { return Decision::retrieve(2); };
    CHECK(any_of(Never{}, yes)(before_first) == Decision::retrieve());
    CHECK(any_of(yes, rewinding)(before_first) == Decision::retrieve(2));
    CHECK(all_of(yes, rewinding)(before_first) == Decision::retrieve(2));
    CHECK(all_of(yes, Never{}, rewinding)(before_first) == Decision::go_on());
}

TEST_CASE("at_most lets so many retrievals pass and every stop") {
    const auto always = [](const StepView&) { return Decision::retrieve(1); };
    for (std::size_t most = 0; most < 4; ++most) {
        auto schedule = at_most(most, always);
        for (std::size_t retrievals = 0; retrievals < 6; ++retrievals) {
            CHECK(schedule(after(retrievals)) == (retrievals < most ? Decision::retrieve(1) : Decision::go_on()));
        }
    }
    CHECK(at_most(0, [](const StepView&) { return Decision::stop(); })(after(9)).stops());
    CHECK_FALSE(at_most(9, Never{})(after(0)).retrieves());
}

TEST_CASE("schedules without a reset are left as they are") {
    std::size_t asked = 0;
    auto schedule = any_of([&asked](const StepView&) { return ++asked == 2; }, Never{});
    schedule.reset();
    CHECK_FALSE(schedule(before_first).retrieves());
    schedule.reset();
    CHECK(schedule(before_first).retrieves());
}

TEST_CASE("copies of a combined schedule have memories of their own") {
    auto one = all_of(Counting{});
    CHECK_FALSE(one(before_first).retrieves());
    auto two = one;
    CHECK(one(before_first).retrieves());
    CHECK(two(before_first).retrieves());
    CHECK_FALSE(two(before_first).retrieves());
}

}  // namespace test_policy_combined_schedules

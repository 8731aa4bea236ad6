// Adaptive-RAG: a router picks a schedule for each generation.
#include "flashback/policy/adaptive.hpp"

#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_adaptive {

using namespace flashback;
using namespace flashback_test;

namespace {

const Decision go = Decision::go_on();
const std::vector<TokenId> text{1, 2, 3, 4, 5, 6, 7, 8, 9};

StepView step(std::size_t generated, std::size_t retrievals = 0) {
    return {.context = TokenSpan{text}.first(2 + generated),
            .prompt_tokens = 2,
            .retrievals = retrievals,
            .since_retrieval = generated};
}

struct Ears {
    std::size_t asked = 0, resets = 0, rewound = 0;
    void reset() { ++resets; }
    void rewind(std::size_t tokens) { rewound += tokens; }
    bool operator()(const StepView&) { return ++asked > 0; }
    Decision at_end(const StepView&, StopReason) const { return Decision::retrieve(1); }
    bool wants_surprisals() const { return true; }
};

}  // namespace

TEST_CASE("Adaptive-RAG: the router is asked once, with the prompt, and its schedule is the only one that is asked") {
    std::size_t choice = 0;
    std::size_t routed_for = 0;
    const auto router = [&](const StepView& asked) {
        CHECK(asked.context.size() == 2);
        CHECK(asked.generated() == 0);
        ++routed_for;
        return choice;
    };
    Ears several;
    auto schedule = routed(router, Never{}, Once{}, std::ref(several));
    static_assert(RetrievalSchedule<decltype(schedule)>);
    const std::vector<Decision> expected{go, Decision::retrieve(), Decision::retrieve()};
    for (choice = 0; choice < 3; ++choice) {
        schedule.reset();
        CHECK(schedule(step(0)) == expected[choice]);
        CHECK(schedule(step(1, 1)) == (choice == 2 ? Decision::retrieve() : go));
        CHECK(schedule(step(2, 1)) == (choice == 2 ? Decision::retrieve() : go));
        schedule.rewind(2);
        CHECK(schedule.at_end(step(1), StopReason::eos) == (choice == 2 ? Decision::retrieve(1) : go));
        CHECK(routed_for == choice + 1);
    }
    CHECK(several.asked == 3);
    CHECK(several.resets == 3);
    CHECK(several.rewound == 6);
    schedule.reset();
    CHECK(schedule.at_end(step(0), StopReason::max_tokens) == go);  // before the first token none is chosen
    CHECK(schedule.wants_surprisals());
    CHECK_FALSE(schedule.wants_attention());
}

TEST_CASE("Adaptive-RAG: a number that no schedule has is an error in words") {
    const auto refused = [](auto number, const char* sentence) {
        auto schedule = routed([number](const StepView&) { return number; }, Never{}, Once{});
        schedule.reset();
        check_error(ErrorCode::contract, sentence, [&] { schedule(step(0)); });
    };
    refused(2, "the router chose schedule 2, but there are 2, counted from 0");
    refused(-1, "the router chose schedule -1, but there are 2, counted from 0");
    refused(std::size_t{77}, "the router chose schedule 77, but there are 2, counted from 0");
}

TEST_CASE("Adaptive-RAG: at an end it has an opinion if the chosen schedule has one") {
    const auto looks = [](std::size_t number) {
        const auto router = [number](const StepView&) { return number; };
        auto schedule = all_of(routed(router, Never{}, Ears{}), Ears{});
        schedule.reset();
        schedule(step(0));
        return schedule.at_end(step(3), StopReason::eos);
    };
    CHECK(looks(0) == Decision::retrieve(1));  // of the other one alone
    CHECK(looks(1) == Decision::retrieve(1));
    auto schedule = routed([](const StepView&) { return 0; }, Never{}, Ears{});
    schedule.reset();
    CHECK_FALSE(schedule.looks_at_ends());
    schedule(step(0));
    CHECK_FALSE(schedule.looks_at_ends());
}

TEST_CASE("Adaptive-RAG: it can be combined, erased, and refer to what is told once") {
    Ears ears;
    auto schedule =
        AnySchedule{at_most(1, any_of(routed([](const StepView&) { return 1u; }, Never{}, std::ref(ears)), std::ref(ears)))};
    schedule.reset();
    schedule.rewind(3);
    CHECK(ears.resets == 1);
    CHECK(ears.rewound == 3);
    CHECK(schedule(step(0)).retrieves());
    CHECK_FALSE(schedule(step(1, 1)).retrieves());
    CHECK(ears.asked == 4);
    CHECK(schedule.wants_surprisals());
}

}  // namespace test_policy_adaptive

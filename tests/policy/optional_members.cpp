#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_optional_members {

using namespace flashback;

namespace {

/// Hears of every start and of every rewind.
template <class Policy>
struct Listening : Policy {
    using Policy::Policy;
    std::size_t calls = 0;
    std::size_t resets = 0;
    std::size_t rewinds = 0;
    std::size_t taken_back = 0;

    void reset() { ++resets; }
    void rewind(std::size_t tokens) {
        ++rewinds;
        taken_back += tokens;
    }
};

/// One policy of each slot, none of which changes what is generated.
struct Listeners {
    Listening<EveryNTokens> schedule{16};
    Listening<LastNTokens> query{32};
    Listening<NoMarkers> wrapper;
    Listening<AppendPassages> layout;
    Listening<KeepCommonPrefix> reuse;
    Listening<Greedy> sampler;
    Listening<StopWhenFull> overflow;
    Listening<NeverStop> stopping;

    void check(std::size_t resets, std::size_t rewinds, std::size_t taken_back) const {
        const auto check_one = [&](const auto& policy) {
            CHECK(policy.resets == resets);
            CHECK(policy.rewinds == rewinds);
            CHECK(policy.taken_back == taken_back);
        };
        check_one(schedule);
        check_one(query);
        check_one(wrapper);
        check_one(layout);
        check_one(reuse);
        check_one(sampler);
        check_one(overflow);
        check_one(stopping);
    }
};

/// Refers to all of them.
auto referring_to(Listeners& all) {
    return Policies{}
        .schedule(std::ref(all.schedule))
        .query(std::ref(all.query))
        .wrapper(std::ref(all.wrapper))
        .layout(std::ref(all.layout))
        .reuse(std::ref(all.reuse))
        .sampler(std::ref(all.sampler))
        .overflow(std::ref(all.overflow))
        .stopping(std::ref(all.stopping));
}

/// Takes the newest two tokens back, once, after the fourth.
struct TakesTwoBack {
    bool done = false;

    Decision operator()(const StepView& step) {
        if (done || step.generated() != 4) return Decision::go_on();
        done = true;
        return Decision::retrieve(2);
    }
    void reset() { done = false; }
};

constexpr std::array<TokenId, 3> prompt{1, 2, 3};
const GenerateOptions ten{.max_tokens = 10};

template <class PoliciesT>
Generation generated_by(PoliciesT policies) {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    Decoder decoder{model, retriever, std::move(policies)};
    return decoder.generate(prompt, ten);
}

/// Can be moved and not copied.
template <class Policy>
struct MovesOnly : Policy {
    using Policy::Policy;
    std::unique_ptr<int> state = std::make_unique<int>(7);
};

TEST_CASE("policies behind std::ref hear of starts and rewinds in every slot") {
    Listeners all;
    auto policies = referring_to(all);
    policies.reset();
    all.check(1, 0, 0);
    policies.rewind(3);
    policies.rewind(2);
    all.check(1, 2, 5);
    static_assert(std::same_as<decltype(policies.schedule()), Listening<EveryNTokens>&>);
    static_assert(std::same_as<decltype(policies.wrapper()), const Listening<NoMarkers>&>);
    CHECK(&policies.schedule() == &all.schedule);
    CHECK(&policies.overflow() == &all.overflow);
}

/// Schedule and sampler in one, that two slots refer to.
struct Both {
    Listening<Once> schedule;  // at the same address as the whole
    std::size_t taken_back = 0;

    bool operator()(const StepView& step) { return schedule(step); }
    TokenId operator()(std::span<const float> logits, const StepView&) { return Greedy{}(logits); }
    void reset() { taken_back = 0; }
    void rewind(std::size_t tokens) { taken_back += tokens; }
};

TEST_CASE("one object that several slots refer to hears of a rewind once") {
    Both both;
    const auto check = [&](auto policies) {
        policies.reset();
        policies.rewind(3);
        CHECK(both.taken_back == 3);
    };
    check(Policies{}.schedule(std::ref(both)).sampler(std::ref(both)));
    CHECK(both.schedule.taken_back == 0);
    check(Policies{}.schedule(std::ref(both.schedule)).sampler(std::ref(both)));
    CHECK(both.schedule.taken_back == 3);
}

/// Tells another of rewinds.
struct MakesNoise : Once {
    Listening<Once>* other;

    explicit MakesNoise(Listening<Once>* o) : other(o) {}
    void rewind(std::size_t tokens) const { other->taken_back += tokens; }
};

TEST_CASE("one object that slots refer to, and policies in slots, hears of a start and of a rewind once") {
    Listening<Once> schedule;
    Both both;
    Listening<Greedy> sampler;
    const auto check = [&](auto policies) {
        schedule.resets = schedule.rewinds = sampler.resets = sampler.rewinds = 0;
        policies.reset();
        policies.rewind(3);
        CHECK(both.taken_back == 3);
        for (const Listening<Once>* each : {&schedule, &both.schedule}) CHECK(each->resets <= 1);
        CHECK(schedule.rewinds == schedule.resets);
        CHECK(sampler.rewinds == sampler.resets);
        CHECK(sampler.resets <= 1);
        return schedule.resets + sampler.resets;
    };
    CHECK(check(Policies{}.schedule(any_of(std::ref(both), Never{})).sampler(std::ref(both))) == 0);
    CHECK(check(Policies{}.schedule(any_of(std::ref(schedule), std::ref(schedule))).sampler(std::ref(both))) == 1);
    CHECK(check(Policies{}
                    .schedule(all_of(at_most(2, std::ref(schedule)), any_of(std::ref(both), std::ref(schedule))))
                    .sampler(RepetitionPenalty{{}, std::ref(both)})) == 1);
    CHECK(check(Policies{}
                    .schedule(AnySchedule{any_of(AnySchedule{std::ref(schedule)}, AnySchedule{std::ref(both)})})
                    .sampler(AnySampler{std::ref(both)})
                    .stopping(AnyStopping{std::ref(schedule)})) == 1);
    auto group = any_of(std::ref(schedule), std::ref(both));
    CHECK(check(Policies{}.schedule(std::ref(group)).sampler(std::ref(both)).stopping(std::ref(schedule))) == 1);
    CHECK(check(Policies{}
                    .schedule(any_of(std::ref(schedule), std::ref(both)))
                    .sampler(RepetitionPenalty{{}, std::ref(sampler)})
                    .stopping(std::ref(schedule))) == 2);

    // One that derives from a policy made of policies hears of it itself.
    Listening<AnySchedule> derived;
    derived.AnySchedule::operator=(AnySchedule{std::ref(schedule)});
    CHECK(check(Policies{}.schedule(std::ref(derived)).sampler(std::ref(both))) == 0);
    CHECK(derived.resets == 1);
    CHECK(derived.rewinds == 1);
    check(Policies{}.schedule(any_of(derived)).sampler(std::ref(both)));

    // Two that are equal, held and not referred to, are two.
    auto held = any_of(MakesNoise{&schedule}, MakesNoise{&schedule});
    schedule.taken_back = 0;
    held.rewind(2);
    CHECK(schedule.taken_back == 4);
    std::vector<Listening<EveryNTokens>> many(40, Listening<EveryNTokens>{4});
    auto referring = [&]<std::size_t... I>(std::index_sequence<I...>) {
        return any_of(std::ref(many[I])..., std::ref(many[I])...);
    }
    (std::make_index_sequence<40>{});
    Policies{}.schedule(std::ref(referring)).rewind(2);
    for (const auto& each : many) CHECK(each.rewinds == 1);
}

TEST_CASE("a decoder tells policies behind std::ref of each rewind once") {
    Listeners all;
    TakesTwoBack schedule;
    const Generation generation = generated_by(referring_to(all).schedule(any_of(std::ref(schedule), std::ref(all.schedule))));
    CHECK(generation.tokens.size() == 10);
    CHECK(generation.stats.rewound == 2);
    all.check(1, 1, 2);
    CHECK(schedule.done);
}

TEST_CASE("policies behind std::ref hear of starts and rewinds through what is made of them") {
    Listening<Once> schedule;
    Listening<Greedy> sampler;
    const auto check = [&](auto made, const auto& listener) {
        const std::size_t resets = listener.resets;
        const std::size_t rewinds = listener.rewinds;
        const std::size_t taken_back = listener.taken_back;
        made.reset();
        made.rewind(3);
        CHECK(listener.resets == resets + 1);
        CHECK(listener.rewinds == rewinds + 1);
        CHECK(listener.taken_back == taken_back + 3);
    };
    check(any_of(std::ref(schedule)), schedule);
    check(all_of(Never{}, std::ref(schedule)), schedule);
    check(at_most(3, std::ref(schedule)), schedule);
    check(any_of(Never{}, all_of(at_most(3, std::ref(schedule)))), schedule);
    check(AnySchedule{std::ref(schedule)}, schedule);
    check(AnySchedule{any_of(AnySchedule{std::ref(schedule)})}, schedule);
    check(RepetitionPenalty{{}, std::ref(sampler)}, sampler);
    check(AnySampler{RepetitionPenalty{{}, std::ref(sampler)}}, sampler);
}

TEST_CASE("policies that are chosen at run time tell what they refer to, or hold, of starts and rewinds") {
    Listeners all;
    AnyPolicies policies{AnySchedule{std::ref(all.schedule)}, AnyQuery{std::ref(all.query)},
                         AnyWrapper{std::ref(all.wrapper)},   AnyLayout{std::ref(all.layout)},
                         AnyReuse{std::ref(all.reuse)},       AnySampler{std::ref(all.sampler)},
                         AnyOverflow{std::ref(all.overflow)}, AnyStopping{std::ref(all.stopping)}};
    policies.reset();
    policies.rewind(4);
    all.check(1, 1, 4);
    AnyPolicies copy = policies;
    copy.reset();
    all.check(2, 1, 4);
}

/// Has a memory that asks for surprisals.
struct Asks : Once {
    bool asks = false;
    bool wants_surprisals() const { return asks; }
};

TEST_CASE("whoever asks for surprisals is heard in every slot, behind std::ref and inside of others") {
    Asks asks;
    const std::array<bool, 2> both{false, true};
    for (const bool wants : both) {
        asks.asks = wants;
        CHECK(Policies{}.schedule(std::ref(asks)).wants_surprisals() == wants);
        CHECK(Policies{}.schedule(asks).wants_surprisals() == wants);
        CHECK(any_of(Never{}, std::ref(asks)).wants_surprisals() == wants);
        CHECK(all_of(asks, Once{}).wants_surprisals() == wants);
        CHECK(at_most(1, std::ref(asks)).wants_surprisals() == wants);
        CHECK(AnySchedule{std::ref(asks)}.wants_surprisals() == wants);
        CHECK(generated_by(Policies{}.schedule(std::ref(asks))).surprisals.size() == (wants ? 10 : 0));
    }
}

TEST_CASE("policies that can only be moved fill every slot and a decoder") {
    auto policies = Policies{}
                        .schedule(MovesOnly<Once>{})
                        .query(MovesOnly<LastNTokens>{})
                        .wrapper(MovesOnly<NoMarkers>{})
                        .layout(MovesOnly<AppendPassages>{})
                        .reuse(MovesOnly<KeepCommonPrefix>{})
                        .sampler(MovesOnly<Greedy>{})
                        .overflow(MovesOnly<StopWhenFull>{})
                        .stopping(MovesOnly<NeverStop>{});
    static_assert(!std::is_copy_constructible_v<decltype(policies)> && std::is_move_constructible_v<decltype(policies)>);
    CHECK(*policies.schedule().state == 7);
    CHECK(*policies.stopping().state == 7);
    auto other = std::move(policies).sampler(Greedy{});
    CHECK(*other.layout().state == 7);
    const Generation generation = generated_by(std::move(other));
    CHECK(generation.tokens == generated_by(Policies{}.schedule(Once{})).tokens);

    // The slot that holds the only one that cannot be copied may be replaced by a copy of the others.
    const auto moves_only = Policies{}.schedule(MovesOnly<Once>{});
    CHECK(generated_by(moves_only.schedule(Once{})).tokens == generation.tokens);
}

/// A method that can only be moved.
struct MovingMethod {
    std::unique_ptr<std::size_t> asked = std::make_unique<std::size_t>(0);

    bool schedule(const StepView& step) { return (*asked)++ == 0 && step.retrievals == 0; }
    TokenBuffer query(const StepView& step) const { return {step.context.begin(), step.context.end()}; }
    void reset() { *asked = 0; }
};

TEST_CASE("a method that can only be moved fills its slots beside others") {
    auto policies = Policies{}.layout(MovesOnly<AppendPassages>{}).method(MovingMethod{}).stopping(MovesOnly<NeverStop>{});
    const Generation generation = generated_by(std::move(policies));
    REQUIRE(generation.retrievals.size() == 1);
    CHECK(generation.retrievals[0].query_tokens == std::vector<TokenId>(prompt.begin(), prompt.end()));
}

/// What a builder's query was when it was searched for.
template <class Builder>
Retrieval asked_by(Builder builder) {
    const Generation generation = generated_by(Policies{}.schedule(Once{}).query(builder));
    const Generation erased = generated_by(Policies{}.schedule(Once{}).query(AnyQuery{builder}));
    REQUIRE(generation.retrievals.size() == 1);
    REQUIRE(erased.retrievals.size() == 1);
    CHECK(erased.retrievals[0].query_tokens == generation.retrievals[0].query_tokens);
    CHECK(erased.retrievals[0].query_text == generation.retrievals[0].query_text);
    return generation.retrievals[0];
}

TEST_CASE("query builders give a query, tokens or text, as views or by value") {
    const std::vector<TokenId> newest{2, 3};
    const auto check_tokens = [&](const Retrieval& retrieval) {
        CHECK(retrieval.query_tokens == newest);
        CHECK(retrieval.query_text.empty());
    };
    check_tokens(asked_by([](const StepView& step) { return step.context.last(2); }));
    check_tokens(asked_by([](const StepView& step) { return TokenBuffer(step.context.end() - 2, step.context.end()); }));
    check_tokens(asked_by([](const StepView& step) { return Query{.tokens = step.context.last(2)}; }));
    check_tokens(asked_by([](const StepView&) { return std::array<TokenId, 2>{2, 3}; }));
    check_tokens(asked_by([&newest](const StepView&) -> const std::vector<TokenId>& { return newest; }));

    const std::string words = "a query that is longer than what a string holds in itself";
    const auto check_text = [&](const Retrieval& retrieval) {
        CHECK(retrieval.query_tokens.empty());
        CHECK(retrieval.query_text == words);
    };
    check_text(asked_by([&words](const StepView&) { return words; }));
    check_text(asked_by([&words](const StepView&) -> const std::string& { return words; }));
    check_text(asked_by([&words](const StepView&) { return std::string_view{words}; }));
    check_text(asked_by([&words](const StepView&) { return words.c_str(); }));
    check_text(asked_by([&words](const StepView&) { return Query{.tokens = {}, .text = words}; }));
}

bool once(const StepView& step) { return step.retrievals == 0; }
TokenSpan everything(const StepView& step) { return step.context; }

TEST_CASE("functions, and references to functions, are policies") {
    const auto tokens = generated_by(Policies{}.schedule(Once{}).query(everything)).tokens;
    CHECK(generated_by(Policies{}.schedule(once).query(&everything)).tokens == tokens);
    CHECK(generated_by(Policies{}.schedule(std::ref(once)).query(std::cref(everything))).tokens == tokens);
    CHECK(generated_by(Policies{}.schedule(any_of(Never{}, once)).query(AnyQuery{everything})).tokens == tokens);
    CHECK(generated_by(Policies{}.schedule(AnySchedule{at_most(2, std::ref(once))})).tokens == tokens);
    CHECK(generated_by(Policies{}.schedule(std::function<bool(const StepView&)>{once})).tokens == tokens);
}

/// Shows tokens, and takes back those that a schedule takes back.
struct Screen {
    std::vector<TokenId> shown;
    void operator()(TokenId token) { shown.push_back(token); }
    void rewind(std::size_t tokens) { shown.resize(shown.size() - tokens); }
};

TEST_CASE("whoever is handed the tokens hears of rewinds, behind std::ref too") {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    Decoder decoder{model, retriever, Policies{}.schedule(TakesTwoBack{})};
    Screen screen;
    CHECK(decoder.generate(prompt, ten, screen).tokens == screen.shown);
    screen.shown.clear();
    CHECK(decoder.generate(prompt, ten, std::ref(screen)).tokens == screen.shown);
    CHECK(screen.shown.size() == 10);
}

}  // namespace

}  // namespace test_policy_optional_members

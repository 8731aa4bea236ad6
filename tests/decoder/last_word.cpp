// Everyone hears of a rewind, the schedule has the last word at an end, and passages can be dropped.
#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_last_word {

using namespace flashback;
using namespace flashback_test;

namespace {

/// Counts what it hears.
struct Ears {
    std::size_t resets = 0;
    std::vector<std::size_t> rewinds = {};
    void reset() { ++resets; }
    void rewind(std::size_t tokens) { rewinds.push_back(tokens); }
};

struct Scripted : Ears {
    bool done = false;
    void reset() {
        Ears::reset();
        done = false;
    }
    Decision operator()(const StepView& step) {
        if (step.retrievals == 0) return true;
        if (step.generated() == 5 && !done) {
            done = true;
            return Decision::retrieve(3);
        }
        return false;
    }
};
struct Query_ : Ears {
    TokenSpan operator()(const StepView& step) const { return step.kept(); }
};
struct Wrapper : Ears {
    void operator()(TokenSpan passage, TokenBuffer& out) const { append(out, passage); }
};
struct Layout : Ears {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const { AppendPassages{}(parts, out); }
};
struct Reuse : Ears {
    std::size_t operator()(TokenSpan held, TokenSpan wanted) const { return common_prefix(held, wanted); }
};
struct Sampling : Ears {
    TokenId operator()(std::span<const float> logits) const { return Greedy{}(logits); }
};
struct Full : Ears {
    std::size_t operator()(const FullWindow&) const { return 0; }
};
struct Stop : Ears {
    bool operator()(const StepView&) const { return false; }
};

const GenerateOptions ten{.max_tokens = 10, .ignore_eos = true};

/// Goes on at ends as it is told to, and remembers what it was asked.
struct AtEnds {
    std::vector<Decision> script;
    std::vector<StopReason> reasons = {};
    std::vector<std::size_t> generated = {};
    std::size_t first_retrieval = 1;  // retrievals before it never retrieves by itself
    void reset() {
        reasons.clear();
        generated.clear();
    }
    Decision operator()(const StepView& step) const { return step.retrievals < first_retrieval; }
    Decision at_end(const StepView& step, StopReason reason) {
        reasons.push_back(reason);
        generated.push_back(step.generated());
        return reasons.size() <= script.size() ? script[reasons.size() - 1] : Decision::go_on();
    }
};

}  // namespace

TEST_CASE("every slot hears of the start and of rewinds, by itself and as the model of Any...") {
    const auto check_all = [](auto policies, auto... refs) {
        FullNullModel model;
        FixedRetriever retriever{.passages = {{5, 6}}};
        Decoder decoder{model, retriever, policies};
        decoder.generate(Tokens{7, 8}, ten);
        decoder.generate(Tokens{7, 8}, ten);
        const auto heard = [](const Ears& ears) {
            CHECK(ears.resets == 2);
            CHECK(ears.rewinds == std::vector<std::size_t>{3, 3});
        };
        (heard(refs.get()), ...);
    };
    Scripted a;
    Query_ b;
    Wrapper c;
    Layout d;
    Reuse e;
    Sampling f;
    Full g;
    Stop h;
    SUBCASE("std::ref") {
        check_all(Policies{}
                      .schedule(std::ref(a))
                      .query(std::ref(b))
                      .wrapper(std::ref(c))
                      .layout(std::ref(d))
                      .reuse(std::ref(e))
                      .sampler(std::ref(f))
                      .overflow(std::ref(g))
                      .stopping(std::ref(h)),
                  std::ref(a), std::ref(b), std::ref(c), std::ref(d), std::ref(e), std::ref(f), std::ref(g), std::ref(h));
    }
    SUBCASE("chosen at run time") {
        check_all(
            AnyPolicies{AnySchedule{std::ref(a)}, AnyQuery{std::ref(b)}, AnyWrapper{std::ref(c)}, AnyLayout{std::ref(d)},
                        AnyReuse{std::ref(e)}, AnySampler{std::ref(f)}, AnyOverflow{std::ref(g)}, AnyStopping{std::ref(h)}},
            std::ref(a), std::ref(b), std::ref(c), std::ref(d), std::ref(e), std::ref(f), std::ref(g), std::ref(h));
    }
    SUBCASE("combined") {
        check_all(
            Policies{}.schedule(at_most(9, any_of(std::ref(a), all_of(Never{})))).sampler(RepetitionPenalty{{}, std::ref(f)}),
            std::ref(a), std::ref(f));
    }
}

TEST_CASE("a schedule that counts, beside one that rewinds, counts right") {
    /// Retrieves after every six tokens of the text, by its own count.
    struct Counter {
        std::size_t count = 0;
        std::vector<std::size_t>* at;
        void reset() { count = 0; }
        void rewind(std::size_t tokens) { count -= tokens; }
        Decision operator()(const StepView& step) {
            CHECK(count == step.generated());
            ++count;  // the token that comes
            if (step.generated() % 6 == 0) at->push_back(step.generated());
            return step.generated() % 6 == 0;
        }
    };
    std::vector<std::size_t> at;
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Scripted rewinder;
    Decoder decoder{model, retriever, Policies{}.schedule(any_of(Counter{.at = &at}, std::ref(rewinder)))};
    CHECK(decoder.generate(Tokens{7, 8}, {.max_tokens = 13, .ignore_eos = true}).tokens.size() == 13);
    CHECK(rewinder.rewinds == std::vector<std::size_t>{3});
    CHECK(at == std::vector<std::size_t>{0, 6, 12});
}

TEST_CASE("a sampled text is that of the plain run after a rewind") {
    const auto sampling = TruncatedSampling{{.temperature = 1.0f, .seed = 11}};
    FullNullModel plain, other;
    FixedRetriever retriever{.passages = {{}}};  // finds a passage without tokens: nothing changes but what is drawn
    const Tokens expected =
        Decoder{plain, retriever, Policies{}.schedule(Once{}).sampler(sampling)}.generate(Tokens{7, 8}, ten).tokens;
    Scripted rewinder;
    Decoder decoder{other, retriever, Policies{}.schedule(std::ref(rewinder)).sampler(sampling)};
    CHECK(decoder.generate(Tokens{7, 8}, ten).tokens == expected);
    CHECK(rewinder.rewinds.size() == 1);
    FullNullModel third;
    CHECK(Decoder{third, retriever, Policies{}.sampler(TruncatedSampling{{.temperature = 1.0f, .seed = 12}})}
              .generate(Tokens{7, 8}, ten)
              .tokens != expected);
}

TEST_CASE("before a text ends the schedule is asked, and may go on") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    SUBCASE("at max_tokens, by taking tokens back") {
        AtEnds schedule{.script = {Decision::retrieve(4), Decision::drop_passages(2), Decision::go_on()}};
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule))};
        const Generation run = decoder.generate(Tokens{7, 8}, ten);
        CHECK(run.tokens.size() == 10);
        CHECK(to_string(run.stop) == "max_tokens");
        CHECK(schedule.reasons == std::vector<StopReason>(3, StopReason::max_tokens));
        CHECK(schedule.generated == std::vector<std::size_t>(3, 10));
        CHECK(run.stats.rewinds == 2);
        CHECK(run.stats.rewound == 6);
        CHECK(run.stats.retrievals == 2);
        CHECK(run.stats.counts.evaluated + run.stats.counts.reused == run.stats.counts.requested);
    }
    SUBCASE("at max_tokens a decision that takes nothing back lets it end") {
        AtEnds schedule{.script = {Decision::retrieve()}};
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule))};
        const Generation run = decoder.generate(Tokens{7, 8}, ten);
        CHECK(run.tokens.size() == 10);
        CHECK(run.stats.retrievals == 1);
        CHECK(schedule.reasons.size() == 1);
    }
    SUBCASE("at a stop string, which is taken back") {
        AtEnds schedule{.script = {Decision::retrieve(3)}};
        std::size_t stops = 0;
        const auto stopping = [&](const StepView& step) { return step.generated() == 6 && ++stops > 0; };
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule)).stopping(stopping)};
        Listener listener;
        const Generation run = decoder.generate(Tokens{7, 8}, ten, listener);
        CHECK(to_string(run.stop) == "stop_string");
        CHECK(stops == 2);
        CHECK(schedule.reasons == std::vector<StopReason>(2, StopReason::stop_string));
        CHECK(listener.tokens == run.tokens);
        CHECK(listener.rewinds == std::vector<std::size_t>{3});
    }
    SUBCASE("at the end of the text, whose token is not taken") {
        // Token 2 ends a text; the second time it is asked it lets it end.
        model.change_logits = [](std::size_t evaluations, std::span<float> logits) {
            logits[2] = evaluations % 4 == 0 ? 99.0f : -99.0f;
        };
        AtEnds schedule{.script = {Decision::retrieve(1)}};
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule))};
        const Generation run = decoder.generate(Tokens{7, 8}, {.max_tokens = 10});
        CHECK(to_string(run.stop) == "eos");
        CHECK(schedule.reasons == std::vector<StopReason>(2, StopReason::eos));
        CHECK(schedule.generated == std::vector<std::size_t>{3, 5});
        CHECK(run.tokens.size() == 5);
        CHECK(std::ranges::find(run.tokens, 2) == run.tokens.end());
    }
    SUBCASE("not when it is cancelled, or the schedule itself ends it") {
        AtEnds schedule{.script = {Decision::retrieve(1)}};
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule))};
        std::size_t tokens = 0;
        const auto enough = [&](TokenId) { return ++tokens < 3; };
        CHECK(to_string(decoder.generate(Tokens{7, 8}, ten, enough).stop) == "cancelled");
        CHECK(schedule.reasons.empty());
    }
    SUBCASE("but not for ever") {
        AtEnds schedule{.script = std::vector<Decision>(1000, Decision::retrieve())};
        model.change_logits = [](std::size_t, std::span<float> logits) { logits[2] = 99; };
        Decoder decoder{model, retriever, Policies{}.schedule(std::ref(schedule))};
        const Generation run = decoder.generate(Tokens{7, 8}, {.max_tokens = 10, .max_rewinds = 7});
        CHECK(to_string(run.stop) == "max_rewinds");
        CHECK(schedule.reasons.size() == 8);
        CHECK(run.stats.rewinds == 0);
    }
    SUBCASE("combined schedules ask those that look at ends") {
        AtEnds schedule{.script = {Decision::retrieve(4)}};
        Decoder decoder{model, retriever, Policies{}.schedule(at_most(2, all_of(any_of(std::ref(schedule), Never{}), Once{})))};
        const Generation run = decoder.generate(Tokens{7, 8}, ten);
        CHECK(run.stats.retrievals == 2);
        CHECK(schedule.reasons.size() == 2);
        AtEnds bounded{.script = {Decision::retrieve(4)}};
        CHECK(Decoder{model, retriever, Policies{}.schedule(at_most(1, std::ref(bounded)))}
                  .generate(Tokens{7, 8}, ten)
                  .stats.retrievals == 1);
        CHECK(bounded.reasons.size() == 1);
    }
}

TEST_CASE("passages that are dropped are planned away, with the counts of that plan") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6, 9}}};
    std::vector<std::size_t> standing;
    const auto schedule = [&](const StepView& step) {
        standing.push_back(step.passages.size());
        if (step.retrievals == 0) return Decision::retrieve();
        return step.generated() == 3 && !step.passages.empty() ? Decision::drop_passages(2) : Decision::go_on();
    };
    Decoder decoder{model, retriever, Policies{}.schedule(schedule)};
    const Generation run = decoder.generate(Tokens{7, 8}, {.max_tokens = 4, .ignore_eos = true});
    CHECK(standing == std::vector<std::size_t>{0, 1, 1, 1, 0, 0});
    CHECK(run.tokens.size() == 4);
    CHECK(run.stats.retrievals == 1);
    CHECK(run.stats.rewinds == 1);
    // [1 7 8] [5 6 9] t1 t2 -> [1 7 8] t1 -> two more
    CHECK(run.stats.counts == TokenCounts{6 + 2 + 4 + 2, 6 + 2 + 1 + 2, 3, 5});
    CHECK(model.size() == 3 + 3);

    // The text after it is that of never having found anything.
    FullNullModel other;
    NoPassages nothing;
    Tokens prompt{7, 8, run.tokens[0]};
    const Generation direct = Decoder{other, nothing}.generate(prompt, {.max_tokens = 3, .ignore_eos = true});
    CHECK(Tokens(run.tokens.begin() + 1, run.tokens.end()) == direct.tokens);
}

TEST_CASE("a step has the passages that stand, what was dropped, and the surprisals if someone asks") {
    struct Asking {
        std::vector<Tokens>* passages;
        std::vector<std::string>* ids;
        std::size_t* dropped;
        bool asks;
        bool wants_surprisals() const { return asks; }
        bool operator()(const StepView& step) const {
            ids->clear();
            passages->clear();
            for (const Passage& passage : step.passages) {
                ids->push_back(std::string{passage.id} + "/" + std::string{passage.title} + "/" +
                               std::to_string(passage.score));
                passages->emplace_back(passage.tokens.begin(), passage.tokens.end());
            }
            *dropped = step.dropped;
            CHECK(step.surprisals.size() == (asks ? step.generated() : 0));
            if (asks && step.generated() > 0) CHECK(step.surprisals.back() == step.surprisal());
            return step.retrievals == 0 || step.since_retrieval == 6;
        }
    };
    std::vector<Tokens> passages;
    std::vector<std::string> ids;
    std::size_t dropped = 0;
    for (const bool asks : {false, true}) {
        FullNullModel model{20, 16};
        FixedRetriever retriever{.passages = {{5, 6}, {9}}};
        const auto with = [&](auto schedule, bool option) {
            return Decoder{model, retriever, Policies{}.schedule(schedule).overflow(DropOldest{})}.generate(
                Tokens{7, 8, 9, 10}, {.max_tokens = 14, .passages = 2, .ignore_eos = true, .surprisals = option});
        };
        const Asking asking{&passages, &ids, &dropped, asks};
        const Generation run = with(asking, false);
        CHECK(ids == std::vector<std::string>{"id/title/0.500000", "id/title/0.500000"});
        CHECK(passages == std::vector<Tokens>{{5, 6}, {9}});
        CHECK(dropped == run.stats.dropped);
        CHECK(dropped > 0);
        CHECK(run.surprisals.size() == (asks ? 14 : 0));
        CHECK(with(any_of(asking), false).surprisals.size() == run.surprisals.size());
        CHECK(with(at_most(99, AnySchedule{asking}), false).surprisals.size() == run.surprisals.size());
        if (!asks) CHECK(with(EveryNTokens{6}, true).surprisals.size() == 14);
    }
}

}  // namespace test_decoder_last_word

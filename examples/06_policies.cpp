/// \file One policy of each kind, written by hand, and how each is tested without a model. README.md of this folder explains
/// them; it quotes this file.
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/carry_out.hpp"
#include "flashback/testing/null_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

using namespace flashback;

namespace {

/// Retrieves at the start, and whenever a sentence was generated.
struct AtSentenceEnd {
    TokenId full_stop;

    bool operator()(const StepView& step) const { return step.retrievals == 0 || step.last_token() == full_stop; }
};

/// Takes a doubtful token back and retrieves before it is generated anew; gives up after so many doubts.
struct OnDoubt {
    double least_probability;
    std::size_t most_doubts;
    std::size_t doubts = 0;

    void reset() { doubts = 0; }

    Decision operator()(const StepView& step) {
        if (step.since_retrieval == 0 || step.probability() >= least_probability) return Decision::go_on();
        if (++doubts > most_doubts) return Decision::stop();
        return Decision::retrieve(/*rewind=*/1);
    }
};

/// Asks for the newest sentence: what follows the last full stop but one.
struct LastSentence {
    TokenId full_stop;

    Query operator()(const StepView& step) const {
        const TokenSpan text = step.kept();  // without what is about to be taken back
        std::size_t begin = text.size();
        while (begin > 0 && (begin == text.size() || text[begin - 1] != full_stop)) --begin;
        return {text.subspan(begin)};
    }
};

/// The first tokens of a passage, after one marking token.
struct Shortened {
    std::array<TokenId, 1> marker;
    std::size_t most_tokens;

    TokenSpan markers() const { return marker; }  // never sampled
    void operator()(TokenSpan passage, TokenBuffer& out) const {
        append(out, marker);
        append(out, passage.first(std::min(most_tokens, passage.size())));
    }
};

/// The passages shortly before the end of the text, so that the newest tokens are the last thing that is read.
struct BeforeNewest {
    std::size_t newest;

    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        const std::size_t older = parts.context.size() - std::min(newest, parts.context.size());
        append(out, parts.head);
        append(out, parts.context.first(older));
        append(out, parts.passages);
        append(out, parts.context.subspan(older));
    }
};

/// Keeps whole pages: for a cache that can be cut at multiples of a page only.
struct KeepWholePages {
    std::size_t page;

    std::size_t operator()(TokenSpan held, TokenSpan wanted) const { return common_prefix(held, wanted) / page * page; }
};

/// Drops the older half of the text.
struct DropHalf {
    std::size_t operator()(const FullWindow& full) const { return full.context / 2; }
};

/// The likeliest token that is not the newest one again.
struct NoEcho {
    TokenId operator()(std::span<const float> logits, const StepView& step) const {
        std::size_t best = step.last_token() == 0 ? 1 : 0;
        for (std::size_t i = best; i < logits.size(); ++i) {
            if (static_cast<TokenId>(i) != step.last_token() && logits[i] > logits[best]) best = i;
        }
        return static_cast<TokenId>(best);
    }
};

/// Stops after so many sentences.
struct AfterSentences {
    TokenId full_stop;
    std::size_t most;

    bool operator()(const StepView& step) const {
        const TokenSpan generated = step.context.subspan(step.prompt_tokens);
        return static_cast<std::size_t>(std::ranges::count(generated, full_stop)) >= most;
    }
};

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

constexpr std::size_t vocab = 64;

/// A policy is a function: call it.
void test_by_hand() {
    const std::vector<TokenId> text{5, 9, 6, 7};
    const std::vector<float> sure{0, 0, 0, 0, 0, 0, 0, 20}, unsure{0, 0, 0, 0, 0, 0, 0, 0};  // of token 7, the newest
    OnDoubt on_doubt{.least_probability = 0.5, .most_doubts = 1};
    StepView step{.context = text, .prompt_tokens = 2, .since_retrieval = 2, .logits = sure};
    check(on_doubt(step) == Decision::go_on(), "a sure token is kept");
    step.logits = unsure;
    check(on_doubt(step) == Decision::retrieve(1), "the first doubtful token is taken back");
    check(on_doubt(step).stops(), "the second one ends the generation");
    on_doubt.reset();
    check(on_doubt(step).retrieves(), "a new generation starts without doubts");

    check(std::ranges::equal(LastSentence{.full_stop = 9}(step).tokens, TokenBuffer{6, 7}), "the newest sentence");

    TokenBuffer out;
    const std::array<TokenId, 1> passage{40};
    BeforeNewest{.newest = 1}({.head = {}, .passages = std::array{TokenSpan{passage}}, .context = text}, out);
    check(out == TokenBuffer{5, 9, 6, 40, 7}, "the passage stands before the newest token");
}

/// A generation over a model that costs nothing shows when a policy is called, and what its choices cost.
void test_in_the_loop() {
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{/*passage_tokens=*/20, vocab};
    const auto policies = Policies{}
                              .schedule(any_of(AtSentenceEnd{.full_stop = 9}, EveryNTokens{32}))
                              .query(LastSentence{.full_stop = 9})
                              .wrapper(Shortened{.marker = {63}, .most_tokens = 10})
                              .layout(BeforeNewest{.newest = 4})
                              .reuse(KeepWholePages{.page = 16})
                              .overflow(DropHalf{})
                              .sampler(NoEcho{})
                              .stopping(AfterSentences{.full_stop = 9, .most = 3});
    Decoder decoder{model, retriever, policies};
    const std::vector<TokenId> prompt(100, 1);
    const Generation run = decoder.generate(prompt, {.max_tokens = 200});

    check(run.stop == StopReason::stop_string, "the third sentence ends the text");
    check(std::ranges::count(run.tokens, 9) == 3, "there are three sentences");
    for (const Retrieval& retrieval : run.retrievals) {
        check(retrieval.counts.reused % 16 == 0, "whole pages are kept");
    }
    const TokenCounts& counts = run.retrievals.front().counts;
    check(counts.requested == 100 + 1 + 10, "prompt, marker and ten tokens of the passage");
    check(std::ranges::find(run.tokens, 63) == run.tokens.end(), "a marker is never generated");
}

/// A loop of one's own with passages beside the text, over a model that can hold blocks.
TokenBuffer write_beside(testing::NullBlockModel& model, testing::NullRetriever& search, TokenBuffer text, std::size_t count) {
    const auto policies = Policies{}.layout(PassagesAside{});
    const TokenBuffer head{1};
    PlanScratch scratch;
    TokenBuffer held;            // what the model holds
    std::size_t held_plain = 0;  // how many of these tokens saw no passages
    for (std::size_t i = 0; i < count; ++i) {
        std::span<const float> logits;
        if (i % 16 == 0) {
            const auto found = search.retrieve({}, 1);
            const ContextParts parts{.head = head, .passages = found, .context = text, .held_plain = held_plain};
            const ContextPlan plan = plan_context(policies, held, parts, scratch);
            logits = carry_out(model, plan, head.size()).logits;
            held.assign(plan.wanted.begin(), plan.wanted.end());
            held_plain = plan.plain_after(held_plain);
        } else {
            held.push_back(text.back());
            logits = model.evaluate(TokenSpan{text}.last(1));
        }
        text.push_back(Greedy{}(logits));
    }
    return text;
}

void test_beside_in_ones_own_loop() {
    const TokenBuffer prompt(20, 5);
    testing::NullBlockModel theirs{vocab};
    testing::NullRetriever their_search{20, vocab};
    TokenBuffer text = write_beside(theirs, their_search, prompt, 50);

    testing::NullBlockModel ours{vocab};
    testing::NullRetriever our_search{20, vocab};
    Decoder decoder{ours, our_search, Policies{}.layout(PassagesAside{})};
    const Generation run = decoder.generate(prompt, {.max_tokens = 50, .head = TokenBuffer{1}});
    text.erase(text.begin(), text.begin() + 20);
    check(text == run.tokens, "both loops write the same");
}

/// What --schedule=NAME of a program gives.
AnySchedule schedule_named(std::string_view name) {
    if (name == "never") return AnySchedule{Never{}};
    if (name == "sentence") return AnySchedule{AtSentenceEnd{.full_stop = 9}};
    return AnySchedule{EveryNTokens{16}};
}

void test_chosen_at_run_time() {
    testing::NullRetriever retriever{20, vocab};
    const std::vector<TokenId> prompt(10, 1);
    std::vector<std::size_t> retrievals;
    for (const char* name : {"never", "sentence", "stride"}) {
        testing::NullModel model{vocab};
        Decoder decoder{model, retriever, AnyPolicies{}.schedule(schedule_named(name))};  // one type, whatever the name
        retrievals.push_back(decoder.generate(prompt, {.max_tokens = 64}).stats.retrievals);
    }
    check(retrievals[0] == 0 && retrievals[1] > 1 && retrievals[2] == 4, "each name is another schedule");
}

}  // namespace

int main() try {
    test_by_hand();
    test_in_the_loop();
    test_chosen_at_run_time();
    test_beside_in_ones_own_loop();
    std::cout << "all policies do as they say\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "06_policies: " << error.what() << '\n';
    return 1;
}

#include "flashback/policy/parse_schedule.hpp"

#include "flashback/core/random.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/detail/build_method.hpp"
#include "support/null_model.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_parse_schedule {

using namespace flashback;

namespace {

/// Tokens below 26 are words, 26 a full stop, all others are "y".
constexpr auto text_of = [](TokenId token) -> std::string {
    return token == 26 ? "." : token < 26 ? std::string{" w"} + static_cast<char>('a' + token) : "y";
};

std::string error_of(std::string_view schedule, std::string_view query = {}) {
    try {
        parse_method(schedule, query, text_of);
    } catch (const Error& error) {
        CHECK(to_string(error.code()) == "contract");
        return error.what();
    }
    return "nothing was thrown";
}

/// What two schedules say of the same random text, in which tokens are taken back now and then.
template <class One, class Other>
void check_same_decisions(One one, Other other, std::size_t steps = 300) {
    SplitMix64 random{7};
    TokenBuffer text{1, 2, 3};
    std::vector<float> logits(40, 0);
    std::vector<double> surprisals;
    std::size_t retrievals = 0;
    std::size_t retrieved_at = 0;
    std::size_t evaluated = 0;
    std::string id = "a";
    Passage top;
    const auto reset = [](auto& policy) {
        if constexpr (requires { policy.reset(); }) policy.reset();
    };
    const auto rewind = [](auto& policy, std::size_t n) {
        if constexpr (requires { policy.rewind(n); }) policy.rewind(n);
    };
    reset(one);
    reset(other);
    for (std::size_t i = 0; i < steps; ++i) {
        const std::size_t generated = text.size() - 3;
        StepView step{text,       3,       retrievals, generated - std::min(retrieved_at, generated), {}, 0, {}, 0,
                      surprisals, nullptr, evaluated};
        if (generated > 0) step.logits = logits;
        if (retrievals > 0) {
            top.id = id;
            step.passages = {&top, 1};
        }
        const Decision decision = one(step);
        REQUIRE(decision == Decision{other(step)});
        std::size_t back = random.below(12) == 0 ? random.below(5) : 0;
        if (decision.retrieves() || decision.drops_passages()) back = decision.rewind();
        back = std::min(back, generated);
        if (back > 0) {
            rewind(one, back);
            rewind(other, back);
            text.resize(text.size() - back);
            surprisals.resize(surprisals.size() - back);
            retrieved_at = std::min(retrieved_at, generated - back);
        }
        if (decision.retrieves()) {
            ++retrievals;
            retrieved_at = generated - back;
            if (random.below(3) == 0) id = std::string(1, static_cast<char>('a' + random.below(3)));
            evaluated += 7;
        }
        for (float& logit : logits) logit = static_cast<float>(random.below(100)) / 20;
        text.push_back(static_cast<TokenId>(random.below(30)));
        surprisals.push_back(flashback::surprisal(logits, text.back()));
        ++evaluated;
    }
    CHECK(retrievals > 1);
}

/// Says and asks what it is told.
struct Says {
    Decision decision;
    TokenId token;
    Decision schedule(const StepView&) const { return decision; }
    TokenBuffer query(const StepView&) const { return {token}; }
};

}  // namespace

TEST_CASE("what is parsed can be printed with all constants, and that is parsed to the same") {
    const std::vector<std::array<std::string_view, 4>> texts{
        {"never", "", "never", "last:32"},
        {"once", "last", "once", "last:32"},
        {"stride", "last:8", "stride:16", "last:8"},
        {"stride:4", "last(8)", "stride:4", "last:8"},
        {"stride(tokens:4)", "last(tokens:8)", "stride:4", "last:8"},
        {"entropy", "masked", "entropy(threshold:2,apart:4)", "masked:0.4"},
        {"entropy:2.0", "masked:0.25", "entropy(threshold:2,apart:4)", "masked:0.25"},
        {"entropy(1.5,apart:1)", "attention", "entropy(threshold:1.5,apart:1)", "attention:25"},
        {"entropy(apart:1)", "attention:35", "entropy(threshold:2,apart:1)", "attention:35"},
        {"surprisal:4", "sentence", "surprisal(threshold:4,apart:4)", "sentence:64"},
        {"margin", "sentence:9", "margin(threshold:0.1,apart:4)", "sentence:9"},
        {"entropy-z", "", "entropy-z(z:2,warm-up:16,apart:4)", "last:32"},
        {"surprisal-z:1.5", "", "surprisal-z(z:1.5,warm-up:16,apart:4)", "last:32"},
        {"margin-z(z:3,warm-up:8)", "", "margin-z(z:3,warm-up:8,apart:4)", "last:32"},
        {"backoff", "", "backoff(stride:16,most:256)", "last:32"},
        {"backoff:4", "", "backoff(stride:4,most:256)", "last:32"},
        {"sentence", "sentence", "sentence", "sentence:64"},
        {"flare", "", "flare(theta:0.8,beta:0.4,look-ahead:64)", ""},
        {"flare:0", "last:8", "flare(theta:0,beta:0.4,look-ahead:64)", "last:8"},
        {"dragin(theta:0.6,words:35)", "", "dragin(theta:0.6,words:35,look-ahead:64)", ""},
        {"etc:1.0", "", "etc(alpha:1,words:35)", ""},
        {"ircot", "", "ircot:8", ""},
        {"self-rag(retrieve:5,no-retrieve:6)", "", "self-rag(retrieve:5,no-retrieve:6,delta:0.2)", "last:32"},
        {"any(stride:64,entropy:3)", "", "any(stride:64,entropy(threshold:3,apart:4))", "last:32"},
        {"all(stride)", "", "all(stride:16)", "last:32"},
        {"at-most(8,any(flare,once))", "", "at-most(8,any(flare(theta:0.8,beta:0.4,look-ahead:64),once))", ""},
        {"at-most(once,retrievals:0)", "", "at-most(0,once)", "last:32"},
        {"budget(4,stride:16)", "", "budget(tokens:4,look-ahead:16,stride:16)", "last:32"},
        {" any ( stride : 64 ,\tall(once , never)\n) ", " last : 3 ", "any(stride:64,all(once,never))", "last:3"},
        {"entropy:1e-3", "", "entropy(threshold:0.001,apart:4)", "last:32"},
        {"entropy:0.1", "", "entropy(threshold:0.1,apart:4)", "last:32"},
        {"stride:1e3", "", "stride:1000", "last:32"},
    };
    for (const auto& text : texts) {
        CAPTURE(text[0]);
        const AnyMethod method = parse_method(text[0], text[1], text_of);
        CHECK(method.text().schedule == text[2]);
        CHECK(method.text().query == text[3]);
        CHECK(parse_method(method.text().schedule, method.text().query, text_of).text() == method.text());
        CHECK_NOTHROW(parse_schedule(text[0], text_of));
        if (!text[1].empty()) CHECK_NOTHROW(parse_query(text[1], text_of));
    }
}

TEST_CASE("options print themselves as the parser writes them") {
    const auto written = [](std::string_view text) { return parse_method(text, "", text_of).text().schedule; };
    CHECK(written("flare") == to_string(FlareOptions{}));
    CHECK(written("dragin") == to_string(DraginOptions{}));
    CHECK(written("etc") == to_string(EtcOptions{}));
    CHECK(written("ircot(steps:8)") == "ircot:8");
    CHECK(written(to_string(IrCotOptions{3})) == "ircot:3");
    CHECK(written(to_string(ReflectionOptions{.retrieve = 7, .no_retrieve = 9})) ==
          to_string(ReflectionOptions{.retrieve = 7, .no_retrieve = 9}));
    CHECK(written(to_string(FlareOptions{.threshold = 0.1, .mask = 1, .look_ahead = 5})) ==
          "flare(theta:0.1,beta:1,look-ahead:5)");
}

TEST_CASE("bad texts are refused in sentences that name the place, what was found, and what was expected") {
    const std::string names =
        "expected one of never, once, stride, entropy, surprisal, margin, entropy-z, surprisal-z, margin-z, backoff, sentence, "
        "flare, dragin, etc, ircot, self-rag, any, all, at-most, budget";
    const std::vector<std::pair<std::string, std::string>> bad{
        {"", "the schedule '' has its end at character 1, expected a name"},
        {"  ", "the schedule '  ' has its end at character 3, expected a name"},
        {"stryde:16", "the schedule 'stryde:16' has 'stryde' at character 1, " + names},
        {"any(once,last:32)", "the schedule 'any(once,last:32)' has 'last' at character 10, " + names},
        {"Once", "the schedule 'Once' has 'Once' at character 1, expected a name"},
        {"once!", "the schedule 'once!' has 'once!' at character 1, expected a name of a to z, 0 to 9 and -"},
        {"16", "the schedule '16' has '16' at character 1, expected a name"},
        {"once once", "the schedule 'once once' has 'once' at character 6, expected its end"},
        {"once)", "the schedule 'once)' has ')' at character 5, expected its end"},
        {"stride:", "the schedule 'stride:' has its end at character 8, expected a number of 0 or more"},
        {"stride:x", "the schedule 'stride:x' has 'x' at character 8, expected a number of 0 or more"},
        {"stride:-4", "the schedule 'stride:-4' has '-4' at character 8, expected a number of 0 or more"},
        {"stride:+4", "the schedule 'stride:+4' has '+4' at character 8, expected a number of 0 or more"},
        {"stride:16x", "the schedule 'stride:16x' has '16x' at character 8, expected a number of 0 or more"},
        {"stride:0x10", "the schedule 'stride:0x10' has '0x10' at character 8, expected a number of 0 or more"},
        {"entropy:nan", "the schedule 'entropy:nan' has 'nan' at character 9, expected a number of 0 or more"},
        {"entropy:inf", "the schedule 'entropy:inf' has 'inf' at character 9, expected a number of 0 or more"},
        {"entropy:1e999", "the schedule 'entropy:1e999' has '1e999' at character 9, expected a number of 0 or more"},
        {"entropy:.5", "the schedule 'entropy:.5' has '.5' at character 9, expected a number of 0 or more"},
        {"entropy:1e7",
         "the schedule 'entropy:1e7' has '1e7' at character 9, expected threshold of entropy to be a number from 0 to 1e+06"},
        {"stride:0",
         "the schedule 'stride:0' has '0' at character 8, expected tokens of stride to be a whole number from 1 to 1000000"},
        {"stride:1.5",
         "the schedule 'stride:1.5' has '1.5' at character 8, expected tokens of stride to be a whole number from 1 to "
         "1000000"},
        {"stride:99999999999999999999",
         "the schedule 'stride:99999999999999999999' has '99999999999999999999' at character 8, expected tokens of stride to "
         "be a "
         "whole number from 1 to 1000000"},
        {"flare:1.5", "the schedule 'flare:1.5' has '1.5' at character 7, expected theta of flare to be a number from 0 to 1"},
        {"never:3", "the schedule 'never:3' has '3' at character 7, expected no number for never"},
        {"any(3)", "the schedule 'any(3)' has '3' at character 5, expected no number for any"},
        {"never(once)", "the schedule 'never(once)' has 'once' at character 7, expected nothing in brackets"},
        {"flare(thta:1)", "the schedule 'flare(thta:1)' has 'thta' at character 7, expected some of theta, beta, look-ahead"},
        {"stride(stride:16)", "the schedule 'stride(stride:16)' has 'stride' at character 8, expected tokens"},
        {"flare(theta)", "the schedule 'flare(theta)' has 'theta' at character 7, expected : and a number behind it"},
        {"flare(0.8,theta:0.3)", "the schedule 'flare(0.8,theta:0.3)' has '0.3' at character 17, expected one theta for flare"},
        {"any", "the schedule 'any' has 'any' at character 1, expected 1 to 64 schedules in its brackets, found 0"},
        {"any()", "the schedule 'any()' has ')' at character 5, expected a name"},
        {"any(once", "the schedule 'any(once' has its end at character 9, expected , or )"},
        {"any(once,", "the schedule 'any(once,' has its end at character 10, expected a name"},
        {"any(once;never)",
         "the schedule 'any(once;never)' has 'once;never' at character 5, expected a name of a to z, 0 to 9 and -"},
        {"any(once never)", "the schedule 'any(once never)' has 'never' at character 10, expected , or )"},
        {"stride:16(once)", "the schedule 'stride:16(once)' has '(' at character 10, expected its end"},
        {"at-most(once)", "the schedule 'at-most(once)' has 'at-most' at character 1, expected it with a number: retrievals"},
        {"at-most(3)",
         "the schedule 'at-most(3)' has 'at-most' at character 1, expected one schedule in its brackets, found 0"},
        {"at-most(3,once,once)",
         "the schedule 'at-most(3,once,once)' has 'at-most' at character 1, expected one schedule in its brackets, found 2"},
        {"self-rag",
         "the schedule 'self-rag' has 'self-rag' at character 1, expected it with a number: some of retrieve, no-retrieve, "
         "delta"},
        {std::string{"on\0ce", 5}, "the schedule 'on?ce' has 'on?ce' at character 1, expected a name of a to z, 0 to 9 and -"},
        {"\xff", "the schedule '?' has '?' at character 1, expected a name"},
        {"backoff(8,most:4)", "Backoff has a stride of 8 tokens, expected at most its longest, 4"},
        {"self-rag(retrieve:5,no-retrieve:5)", "ReflectionRatio needs the ids of two tokens, found 5 and 5"},
    };
    for (const auto& [text, expected] : bad) CHECK(error_of(text) == expected);
    CHECK(error_of("once", "once") ==
          "the query 'once' has 'once' at character 1, expected one of last, sentence, masked, attention");
    CHECK(error_of("once", "last:0") ==
          "the query 'last:0' has '0' at character 6, expected tokens of last to be a whole number from 1 to 1000000");
    CHECK(error_of("once", "masked:2") ==
          "the query 'masked:2' has '2' at character 8, expected beta of masked to be a number from 0 to 1");
}

TEST_CASE("texts are bounded in length and depth") {
    std::string deep = "once";
    for (int i = 0; i < 15; ++i) deep = "any(" + deep + ")";
    CHECK_NOTHROW(parse_schedule(deep));
    CHECK(error_of("any(" + deep + ")").ends_with("has '(' at character 64, expected brackets at most 15 deep"));
    CHECK(error_of(std::string(1 << 20, '(')) == "a schedule is written in 1048576 characters, expected at most 4096");
    CHECK(error_of("once" + std::string(4092, ' ')) == "nothing was thrown");
    CHECK(error_of("once" + std::string(4093, ' ')) == "a schedule is written in 4097 characters, expected at most 4096");
    std::string many = "any(once";
    for (int i = 1; i < 64; ++i) many += ",once";
    CHECK(error_of(many + ")") == "nothing was thrown");
    std::string long_names = "any(surprisal-z";
    for (int i = 1; i < 64; ++i) long_names += ",surprisal-z";
    const std::string twice = "any(" + long_names + ")," + long_names + "))";
    CHECK(error_of(twice).starts_with("a schedule is written in "));
    CHECK(error_of(twice).ends_with(" characters with all its constants, expected at most 4096"));
    CHECK(error_of(many + ",once)").ends_with("expected 1 to 64 schedules in its brackets, found 65"));
}

TEST_CASE("names that need text are refused without it") {
    for (const char* name :
         {"sentence", "flare", "dragin", "etc", "ircot", "self-rag(retrieve:1,no-retrieve:2)", "any(once,flare)"}) {
        CAPTURE(name);
        CHECK_THROWS_WITH_AS(parse_schedule(name),
                             doctest::Contains("which needs the text of tokens, expected a text_of that gives it"), Error);
    }
    CHECK_THROWS_WITH_AS(
        parse_query("sentence"),
        "the query 'sentence' has 'sentence' at character 1, which needs the text of tokens, expected a text_of that "
        "gives it",
        Error);
    CHECK_THROWS_AS(parse_query("attention"), Error);
    CHECK_NOTHROW(parse_query("masked"));
    CHECK_NOTHROW(parse_query("last"));
}

TEST_CASE("a text that is given may be of characters, views and strings, and is copied") {
    const auto letters = [](TokenId token) { return token == 26 ? '.' : 'a'; };
    const auto views = [](TokenId token) { return std::string_view{token == 26 ? "." : " word"}; };
    check_same_decisions(parse_schedule("sentence", letters), EverySentence{SentenceByPiece{letters}});
    check_same_decisions(parse_schedule("sentence", views), parse_schedule("sentence", text_of));
}

TEST_CASE("parsed schedules decide as the classes do") {
    const SentenceByPiece rule{text_of};
    check_same_decisions(parse_schedule("stride:7"), EveryNTokens{7});
    check_same_decisions(parse_schedule("entropy(3.2,apart:2)"), OnEntropy{3.2, 2});
    check_same_decisions(parse_schedule("surprisal:5"), OnSurprisal{5});
    check_same_decisions(parse_schedule("margin:0.05"), OnMargin{0.05});
    check_same_decisions(parse_schedule("entropy-z(1,warm-up:5,apart:3)"), OnUnusualEntropy{1, 5, 3});
    check_same_decisions(parse_schedule("surprisal-z:1.5"), OnUnusualSurprisal{1.5});
    check_same_decisions(parse_schedule("margin-z:0.5"), OnUnusualMargin{0.5});
    check_same_decisions(parse_schedule("backoff(2,most:16)"), Backoff{2, 16});
    check_same_decisions(parse_schedule("budget(3,stride:2)"), WithinBudget{3, EveryNTokens{2}});
    check_same_decisions(parse_schedule("any(stride:9,surprisal:6)"), any_of(EveryNTokens{9}, OnSurprisal{6}));
    check_same_decisions(parse_schedule("all(stride:4,surprisal:4)"), all_of(EveryNTokens{4}, OnSurprisal{4}));
    check_same_decisions(parse_schedule("at-most(3,any(backoff:2,sentence))", text_of),
                         at_most(3, any_of(Backoff{2}, EverySentence{rule})));
    Flare flare{rule};
    struct Schedule {
        decltype(flare)* of;
        Decision operator()(const StepView& step) { return of->schedule(step); }
        void reset() { of->reset(); }
        void rewind(std::size_t n) { of->rewind(n); }
    };
    check_same_decisions(parse_schedule("flare", text_of), Schedule{&flare});
}

TEST_CASE("each schedule beside one that takes last words back: a text is what its start says, in a copy and again") {
    flashback_test::FullNullModel model;
    struct Fixed {
        TokenBuffer tokens{5, 6};
        std::vector<Passage> retrieve(const Query& query, std::size_t) const {
            CHECK(query.tokens.size() + query.text.size() > 0);
            return {Passage{.tokens = tokens}};
        }
    } retriever;
    for (const char* name : {"never", "once", "stride:3", "entropy:1", "surprisal:1", "margin:0.9", "entropy-z(1,warm-up:2)",
                             "surprisal-z(1,warm-up:2)", "margin-z(1,warm-up:2)", "backoff:2", "budget(3,stride:2)", "sentence",
                             "ircot:50", "at-most(2,stride:1)", "all(stride:2,sentence)"}) {
        CAPTURE(std::string{name});
        for (std::size_t max_tokens = 1; max_tokens < 24; ++max_tokens) {
            const AnyMethod method = parse_method(std::string{"any("} + name + ",flare(theta:0.9,look-ahead:5))", "", text_of);
            const GenerateOptions options{.max_tokens = max_tokens, .ignore_eos = true};
            Decoder decoder{model, retriever, Policies{}.method(method)};
            const Generation first = decoder.generate(TokenBuffer{7, 8}, options);
            const Generation again = decoder.generate(TokenBuffer{7, 8}, options);
            REQUIRE(first.tokens.size() <= max_tokens);
            REQUIRE(first.stop != StopReason::max_rewinds);
            REQUIRE(first.tokens == again.tokens);
            REQUIRE(first.stats.rewound == again.stats.rewound);
            // A budget counts what was evaluated, and the second time something was held.
            if (std::string_view{name}.find("budget") == std::string_view::npos)
                REQUIRE(first.retrievals.size() == again.retrievals.size());
        }
    }
}

TEST_CASE("the query is that of the part that retrieves, of several the one that takes back most") {
    const TokenBuffer text{1, 2, 3, 4, 5, 6};
    const StepView step{text, 1};
    const auto asked = [&](detail::MethodGroup::Takes takes, std::vector<Says> parts) {
        std::vector<AnyMethod> methods;
        for (const Says& part : parts) methods.emplace_back(part);
        detail::MethodGroup group{takes, std::move(methods)};
        const Decision decision = group.schedule(step);
        return std::pair{decision, group.query(step).tokens.front()};
    };
    const auto any = detail::MethodGroup::Takes::strongest;
    const auto all = detail::MethodGroup::Takes::weakest;
    const Decision go_on = Decision::go_on();
    const Decision plain = Decision::retrieve();
    CHECK(asked(any, {{go_on, 10}, {plain, 11}, {plain, 12}}) == std::pair{plain, 11});
    CHECK(asked(any, {{plain, 10}, {Decision::retrieve(2), 11}, {Decision::retrieve(3), 12}}) ==
          std::pair{Decision::retrieve(3), 12});
    CHECK(asked(any, {{Decision::prefetch(), 10}, {plain, 11}}) == std::pair{plain, 11});
    CHECK(asked(any, {{go_on, 10}, {Decision::prefetch(), 11}}) == std::pair{Decision::prefetch(), 11});
    CHECK(asked(any, {{Decision::drop_passages(4), 10}, {plain, 11}}) == std::pair{Decision::retrieve(4), 11});
    CHECK(asked(all, {{Decision::stop(), 10}, {plain, 11}, {Decision::retrieve(1), 12}}) ==
          std::pair{Decision::retrieve(1), 12});
}

TEST_CASE("any and all look at ends as those of schedules do: what has no opinion is not asked") {
    struct Last {
        Decision decision;
        bool schedule(const StepView&) const { return false; }
        TokenBuffer query(const StepView&) const { return {7}; }
        Decision at_end(const StepView&, StopReason) const { return decision; }
    };
    const TokenBuffer text{1, 2, 3};
    const StepView step{text, 1};
    for (const auto takes : {detail::MethodGroup::Takes::strongest, detail::MethodGroup::Takes::weakest}) {
        detail::MethodGroup group{takes, {AnyMethod{}, AnyMethod{Last{Decision::retrieve(1)}}}};
        CHECK(group.looks_at_ends());
        CHECK(group.at_end(step, StopReason::eos) == Decision::retrieve(1));
        CHECK(group.query(step).tokens.front() == 7);
        CHECK_FALSE(detail::MethodGroup{takes, {AnyMethod{}}}.looks_at_ends());
    }
    const auto ends = [](const StepView&, StopReason) { return Decision::retrieve(1); };
    struct Schedule {
        decltype(ends) of;
        bool operator()(const StepView&) const { return false; }
        Decision at_end(const StepView& at, StopReason reason) const { return of(at, reason); }
    };
    // The same where the types are known, or half of them.
    CHECK(all_of(EveryNTokens{}, Schedule{ends}).at_end(step, StopReason::eos) == Decision::retrieve(1));
    CHECK(all_of(AnySchedule{}, AnySchedule{Schedule{ends}}).at_end(step, StopReason::eos) == Decision::retrieve(1));
    CHECK(all_of(at_most(9, EveryNTokens{}), Schedule{ends}).at_end(step, StopReason::eos) == Decision::retrieve(1));
}

TEST_CASE("parsed queries ask as the classes do") {
    const TokenBuffer text{0, 26, 1, 2, 3, 4};
    const std::vector<double> surprisals{0.1, 2, 0.1, 0.2};  // probabilities 0.90, 0.14, 0.90, 0.82
    StepView step{text, 2};
    step.surprisals = surprisals;
    const auto asked = [&](AnyQuery query) {
        const TokenSpan tokens = query(step).tokens;
        return TokenBuffer{tokens.begin(), tokens.end()};
    };
    CHECK(asked(parse_query("last:2")) == TokenBuffer{3, 4});
    CHECK(asked(parse_query("sentence", text_of)) == TokenBuffer{1, 2, 3, 4});
    CHECK(asked(parse_query("sentence:3", text_of)) == TokenBuffer{2, 3, 4});
    CHECK(asked(parse_query("masked")) == text);  // no draft: the newest 32
    step.rewind = 3;
    CHECK(asked(parse_query("masked")) == TokenBuffer{3, 4});
    CHECK(asked(parse_query("masked:0.85")) == TokenBuffer{3});
    CHECK(asked(parse_query("masked:0.95")) == TokenBuffer{0, 26, 1});
    CHECK(asked(parse_query("last:2")) == TokenBuffer{26, 1});
    CHECK(parse_query("masked").wants_surprisals());
    CHECK(parse_query("attention", text_of).wants_attention());
    CHECK(parse_method("at-most(3,any(dragin,once))", "", text_of).wants_attention());
    CHECK(parse_method("flare", "last:4", text_of).wants_surprisals());
    CHECK_FALSE(parse_method("stride:4").wants_surprisals());
}

}  // namespace test_policy_parse_schedule

#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

const auto letter = [](TokenId token) { return std::string(1, static_cast<char>('a' + token)); };

std::string spelled(const Tokens& tokens) {
    std::string text;
    for (const TokenId token : tokens) text += letter(token);
    return text;
}

const GenerateOptions thirty{.max_tokens = 30, .ignore_eos = true};

}  // namespace

TEST_CASE("A schedule that stops ends the generation before the next token") {
    for (const bool prepend : {false, true}) {
        for (const std::size_t stop_at : {0u, 1u, 5u, 39u, 40u}) {
            RandomRetriever retriever{9, 12, 20, 1};
            const Expected expected = check_generation(
                retriever, random_prompt(5), {.stride = 4, .prepend = prepend, .head = {1}, .rewind = 2, .stop_at = stop_at});
            CHECK(expected.tokens.size() == stop_at);
            CHECK(to_string(expected.stop) == (stop_at < 40 ? "schedule" : "max_tokens"));
        }
    }
}

TEST_CASE("A schedule that stops at once costs nothing") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5}}};
    Decoder decoder{model, retriever, Policies{}.schedule([](const StepView&) { return Decision::stop(); })};
    const Generation generation = decoder.generate(Tokens{4}, thirty);
    CHECK(to_string(generation.stop) == "schedule");
    CHECK(generation.tokens.empty());
    CHECK(generation.stats.counts == TokenCounts{});
    CHECK(retriever.calls == 0);
    CHECK(model.evaluations == 0);
}

TEST_CASE("A stop string ends the generation after the token that completes it, wherever it stands") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const Tokens whole =
        Decoder{model, retriever, Policies{}.schedule(EveryNTokens{4})}.generate(random_prompt(5), thirty).tokens;
    const std::string text = spelled(whole);
    for (std::size_t at = 0; at < 30; ++at) {
        for (std::size_t length = 1; length <= 4 && at + length <= 30; ++length) {
            const std::string wanted = text.substr(at, length);
            const std::size_t first = text.find(wanted);
            Decoder decoder{model, retriever,
                            Policies{}.schedule(EveryNTokens{4}).stopping(StopStrings{{"?", wanted}, letter})};
            Tokens seen;
            const Generation generation =
                decoder.generate(random_prompt(5), thirty, [&](TokenId token) { seen.push_back(token); });
            REQUIRE(to_string(generation.stop) == "stop_string");
            REQUIRE(generation.tokens == first_of(whole, first + length));
            REQUIRE(seen == generation.tokens);
            REQUIRE(decoder.policies().stopping().text() == text.substr(0, first));
        }
    }
}

TEST_CASE("A text without the stop string goes on to its end, and the next generation starts with an empty text") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.stopping(StopStrings{{"?"}, letter})};
    const Generation first = decoder.generate(Tokens{4}, thirty);
    CHECK(to_string(first.stop) == "max_tokens");
    CHECK(decoder.policies().stopping().text() == spelled(first.tokens));
    const Generation second = decoder.generate(Tokens{5}, thirty);
    CHECK(decoder.policies().stopping().text() == spelled(second.tokens));
}

TEST_CASE("A stop string in the prompt does not count, nor one that begins there") {
    FullNullModel model;
    NoPassages nothing;
    const Tokens tokens = Decoder{model, nothing}.generate(Tokens{4, 5}, thirty).tokens;
    for (const std::string& wanted : {letter(4), letter(4) + letter(5), letter(5) + letter(tokens[0])}) {
        if (spelled(tokens).find(wanted) != std::string::npos) continue;
        Decoder decoder{model, nothing, Policies{}.stopping(StopStrings{{wanted}, letter})};
        CHECK(to_string(decoder.generate(Tokens{4, 5}, thirty).stop) == "max_tokens");
    }
}

TEST_CASE("A stop string that a rewind took apart is not found, and one that the new text completes is") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    const auto schedule = [](const StepView& step) {
        return step.generated() == 6 && step.retrievals == 0 ? Decision::retrieve(3) : Decision::go_on();
    };
    Tokens all;
    const Tokens whole = Decoder{model, retriever, Policies{}.schedule(schedule)}
                             .generate(Tokens{7, 8}, thirty, [&](TokenId token) { all.push_back(token); })
                             .tokens;
    REQUIRE(all.size() == 33);
    REQUIRE(whole[3] != all[3]);
    const auto run = [&](const std::string& wanted) {
        Decoder decoder{model, retriever, Policies{}.schedule(schedule).stopping(StopStrings{{wanted}, letter})};
        return decoder.generate(Tokens{7, 8}, thirty).tokens;
    };
    // The end of the draft and the first token after it: they never stood side by side.
    const std::string apart = letter(all[5]) + letter(all[6]);
    if (spelled(whole).find(apart) == std::string::npos) CHECK(run(apart) == whole);
    // The last token that was kept and the first new one do.
    const std::string joined = letter(whole[1]) + letter(whole[2]) + letter(whole[3]);
    REQUIRE(spelled({all.begin(), all.begin() + 6}).find(joined) == std::string::npos);
    CHECK(run(joined) == first_of(whole, 4));
    // In the draft it is found at once, and nothing is ever taken back.
    CHECK(run(letter(all[3]) + letter(all[4])).size() == 5);
}

TEST_CASE("The text is that of the tokens also where no token follows a rewind: the model ends it, or the window is full") {
    const auto schedule = [](const StepView& step) {
        return step.generated() == 6 && step.retrievals == 0 ? Decision::retrieve(3) : Decision::go_on();
    };
    const auto check = [&](FullNullModel& model, std::size_t passage, const char* reason) {
        FixedRetriever retriever{.passages = {Tokens(passage, 5)}};
        Decoder decoder{model, retriever, Policies{}.schedule(schedule).stopping(StopStrings{{"?"}, letter})};
        const Generation generation = decoder.generate(Tokens{7, 8}, {.max_tokens = 30});
        CHECK(to_string(generation.stop) == reason);
        CHECK(generation.tokens.size() == 3);
        CHECK(decoder.policies().stopping().text() == spelled(generation.tokens));
    };
    const auto end_at = [](std::size_t evaluation) {
        return [=](std::size_t evaluations, std::span<float> logits) { logits[2] = evaluations == evaluation ? 100 : -100; };
    };
    FullNullModel ending;
    ending.change_logits = end_at(7);  // the one after the rewind
    check(ending, 1, "eos");
    FullNullModel small{20, 20};
    small.change_logits = end_at(0);
    check(small, 30, "window_full");
}

TEST_CASE("A criterion is told of a rewind, chosen at run time or not, before the callback is") {
    struct Told {
        std::string* log;
        bool operator()(const StepView&) const { return false; }
        void rewind(std::size_t tokens) const { *log += "criterion " + std::to_string(tokens) + ' '; }
    };
    struct Callback {
        std::string* log;
        void operator()(TokenId) const {}
        void rewind(std::size_t tokens) const { *log += "callback " + std::to_string(tokens) + ' '; }
    };
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    const auto schedule = [](const StepView& step) {
        return step.generated() == 6 && step.retrievals == 0 ? Decision::retrieve(3) : Decision::go_on();
    };
    std::string log;
    Decoder fixed{model, retriever, Policies{}.schedule(schedule).stopping(Told{&log})};
    fixed.generate(Tokens{7, 8}, thirty, Callback{&log});
    CHECK(log == "criterion 3 callback 3 ");
    Decoder any{model, retriever, Policies{}.schedule(schedule).stopping(AnyStopping{Told{&log}})};
    any.generate(Tokens{7, 8}, thirty);
    CHECK(log == "criterion 3 callback 3 criterion 3 ");
}

TEST_CASE("A stop string counts before what the callback says, and the end of the text before both") {
    FullNullModel model;
    NoPassages nothing;
    const Tokens tokens = Decoder{model, nothing}.generate(Tokens{4}, {.max_tokens = 1, .ignore_eos = true}).tokens;
    Decoder decoder{model, nothing, Policies{}.stopping(StopStrings{{letter(tokens[0])}, letter})};
    CHECK(to_string(decoder.generate(Tokens{4}, thirty, [](TokenId) { return false; }).stop) == "stop_string");

    model.change_logits = [](std::size_t, std::span<float> logits) { logits[2] = 100; };
    Decoder ending{model, nothing, Policies{}.stopping(StopStrings{{letter(2)}, letter})};
    CHECK(to_string(ending.generate(Tokens{4}, {.max_tokens = 9}).stop) == "eos");
    CHECK(ending.policies().stopping().text().empty());
    CHECK(to_string(ending.generate(Tokens{4}, thirty).stop) == "stop_string");
}

TEST_CASE("The last token asked for is looked at too") {
    FullNullModel model;
    NoPassages nothing;
    const auto at_three = [](const StepView& step) { return step.generated() == 3; };
    Decoder decoder{model, nothing, Policies{}.stopping(at_three)};
    CHECK(to_string(decoder.generate(Tokens{4}, {.max_tokens = 3, .ignore_eos = true}).stop) == "stop_string");
    CHECK(to_string(decoder.generate(Tokens{4}, {.max_tokens = 2, .ignore_eos = true}).stop) == "max_tokens");
}

// Sticky: passages that are found again stay where they are, and cost nothing.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_sticky {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr TokenId left = 18;
constexpr TokenId right = 19;
const auto sticky = Policies{}.schedule(EveryNTokens{4}).wrapper(MarkerTokens{left, right}).layout(Sticky{});

/// Where passages stand, as a list of what was read: kept by hand, and not read out of tokens.
struct Stand {
    std::string passage;  ///< its id; empty: a token of the text
    Tokens tokens;
};

/// The list that the documentation promises of the one before, with the text as it is now and what was found.
std::vector<Stand> promised(const std::vector<Stand>& before, const Tokens& text, const std::vector<Passage>& found) {
    std::vector<Stand> now;
    std::vector<bool> placed(found.size());
    std::size_t read = 0;
    for (const Stand& stand : before) {
        if (stand.passage.empty()) {
            if (read == text.size() || text[read] != stand.tokens[0]) break;
            now.push_back({"", {text[read++]}});
            continue;
        }
        std::size_t i = 0;
        while (i < found.size() && (placed[i] || found[i].id != stand.passage)) ++i;
        if (i == found.size()) break;
        placed[i] = true;
        now.push_back(stand);
    }
    while (read < text.size()) now.push_back({"", {text[read++]}});
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (placed[i]) continue;
        Stand stand{std::string{found[i].id}, {left}};
        append(stand.tokens, found[i].tokens);
        stand.tokens.push_back(right);
        now.push_back(stand);
    }
    return now;
}

Tokens tokens_of(const std::vector<Stand>& list) {
    Tokens all{1};  // BOS
    for (const Stand& stand : list) append(all, stand.tokens);
    return all;
}

}  // namespace

TEST_CASE("to find the same passage again costs one token") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6, 7}}};
    Decoder decoder{model, retriever, sticky};
    const Generation run = decoder.generate(Tokens{8, 9}, {.max_tokens = 12, .ignore_eos = true});
    REQUIRE(run.retrievals.size() == 3);
    CHECK(run.retrievals[0].counts == TokenCounts{8, 8, 0, 0});
    CHECK(run.retrievals[1].counts == TokenCounts{12, 1, 11, 0});
    CHECK(run.retrievals[2].counts == TokenCounts{16, 1, 15, 0});
    CHECK(run.stats.counts.evaluated == 8 + 11);

    FullNullModel other;
    const Generation appended = Decoder{other, retriever, sticky.layout(AppendPassages{})}.generate(
        Tokens{8, 9}, {.max_tokens = 12, .ignore_eos = true});
    CHECK(appended.stats.counts.evaluated == 8 + 3 + 9 + 3 + 9 + 3);
}

TEST_CASE("of two passages the one that is found again stays, the other goes, and a new one stands at the end") {
    const Tokens one{18, 5, 6, 19}, two{18, 7, 19}, three{18, 8, 9, 19};
    const auto laid = [](const std::vector<TokenSpan>& passages, const Tokens& context, const Tokens& standing) {
        TokenBuffer out;
        Sticky{}(LayoutParts{{}, passages, context, {}, standing}, out);
        return out;
    };
    Tokens standing{11, 12};
    append(standing, one);
    append(standing, two);
    standing.push_back(13);
    CHECK(laid({one, two}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 18, 5, 6, 19, 18, 7, 19, 13, 14});
    CHECK(laid({two, one}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 18, 5, 6, 19, 18, 7, 19, 13, 14});
    CHECK(laid({one, three}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 18, 5, 6, 19, 13, 14, 18, 8, 9, 19});
    CHECK(laid({three, two}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 13, 14, 18, 8, 9, 19, 18, 7, 19});
    CHECK(laid({}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 13, 14});
    CHECK(laid({one, one}, {11, 12, 13, 14}, standing) == Tokens{11, 12, 18, 5, 6, 19, 13, 14, 18, 5, 6, 19});
    CHECK(laid({one}, {11, 15}, standing) == Tokens{11, 15, 18, 5, 6, 19});  // the text was taken back
    CHECK(laid({one}, {12, 13}, standing) == Tokens{12, 13, 18, 5, 6, 19});  // its front was dropped
}

TEST_CASE("text that spells a passage is text, and a passage that spells the text is a passage") {
    const Tokens passage{5, 6, 7};
    const std::vector<TokenSpan> found{passage};
    const auto laid = [&](const Tokens& context, const Tokens& standing) {
        TokenBuffer out;
        Sticky{}(LayoutParts{{}, found, context, {}, standing}, out);
        return out;
    };
    // The prompt spells it in front, and it stands after 8.
    CHECK(laid({5, 6, 7, 8, 9}, {5, 6, 7, 8, 5, 6, 7}) == Tokens{5, 6, 7, 8, 5, 6, 7, 9});
    // The model copies it from where it stands: first a part, then all of it.
    CHECK(laid({8, 5, 6}, {8, 5, 6, 7, 5}) == Tokens{8, 5, 6, 7, 5, 6});
    CHECK(laid({8, 5, 6, 7, 9}, {8, 5, 6, 7, 5, 6, 7}) == Tokens{8, 5, 6, 7, 5, 6, 7, 9});
}

TEST_CASE("more passages than can stay are put at the end") {
    std::vector<Tokens> many(70);
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = {static_cast<TokenId>(100 + i)};
    const std::vector<TokenSpan> found(many.begin(), many.end());
    TokenBuffer first, second;
    AppendPassages{}(LayoutParts{{}, found, {}}, first);
    const Tokens context{7};
    Sticky{}(LayoutParts{{}, found, context, {}, first}, second);
    Tokens expected(first.begin(), first.begin() + 64);
    expected.push_back(7);
    expected.insert(expected.end(), first.begin() + 64, first.end());
    CHECK(second == expected);
}

TEST_CASE("what is read at each plan is what a list that is kept by hand says, and counts follow from it") {
    std::size_t again = 0;
    std::size_t cheap = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        SplitMix64 random{seed};
        // Few passages, so that they are found again; each has tokens of its own.
        std::vector<Tokens> texts;
        std::vector<std::string> ids;
        for (std::size_t i = 0; i < 4; ++i) {
            texts.push_back(random_tokens(random, 1 + random.below(6), 18));
            ids.push_back("p" + std::to_string(i));
        }
        Generator generator{Policies{}
                                .schedule([](const StepView& step) {
                                    if (step.since_retrieval < 3 && step.retrievals > 0) return Decision::go_on();
                                    return Decision::retrieve(step.generated() % 7 == 3 ? 2 : 0);
                                })
                                .wrapper(MarkerTokens{left, right})
                                .layout(Sticky{})};
        FullNullModel model;
        const Tokens prompt = random_prompt(1 + seed % 5, seed);
        const auto is_end = [](TokenId) { return false; };
        generator.start(prompt, {.max_tokens = 40, .passages = 2, .head = TokenSpan{model.head()}, .max_rewinds = 30},
                        {.vocab_size = 20, .is_end = is_end});
        std::vector<Stand> list;
        std::vector<Passage> found;
        bool plans = false;
        Tokens text = prompt;
        while (generator.need().kind != Need::Kind::done) {
            const Need need = generator.need();
            switch (need.kind) {
                case Need::Kind::search: {
                    found.clear();
                    for (std::size_t i = 0; i < random.below(3); ++i) {
                        const std::size_t which = random.below(4);
                        if (!found.empty() && found[0].id == ids[which]) continue;
                        found.push_back({.id = ids[which], .tokens = texts[which]});
                    }
                    plans = true;
                    generator.found(found);
                    break;
                }
                case Need::Kind::rewind:
                    text.resize(text.size() - need.length);
                    generator.resume();
                    break;
                case Need::Kind::truncate:
                    model.truncate(need.length);
                    generator.truncated(model.size());
                    break;
                case Need::Kind::evaluate: {
                    const std::size_t kept = model.size();
                    if (plans) {
                        list = promised(list, text, found);
                        plans = false;
                        const bool stays =
                            std::ranges::any_of(list, [](const Stand& stand) { return !stand.passage.empty(); }) &&
                            list.back().passage.empty();
                        if (stays) ++again;
                        if (stays && need.tokens.size() == 1) ++cheap;
                    } else {
                        list.push_back({"", {text.back()}});
                    }
                    const auto logits = model.evaluate(need.tokens);
                    CHECK(std::ranges::equal(model.tokens(), tokens_of(list)));
                    CHECK(kept + need.tokens.size() == model.size());
                    generator.evaluated(logits, model.size());
                    break;
                }
                case Need::Kind::token:
                    text.push_back(need.token);
                    generator.resume();
                    break;
                default: generator.resume();
            }
        }
        CHECK(generator.result().tokens.size() == 40);
        const TokenCounts counts = generator.result().stats.counts;
        CHECK(counts.evaluated + counts.reused == counts.requested);
    }
    CHECK(again > 50);
    CHECK(cheap > 10);
}

TEST_CASE("the text does not depend on what the model held before") {
    const Tokens prompt = random_prompt(9);
    const GenerateOptions options{.max_tokens = 20, .ignore_eos = true};
    RandomRetriever retriever{2, 5, 18, 7};
    FullNullModel fresh;
    Tokens longer = prompt;
    append(longer, Decoder{fresh, retriever, sticky}.generate(prompt, options).tokens);
    fresh.truncate(0);
    const Tokens expected = Decoder{fresh, retriever, sticky}.generate(longer, options).tokens;

    FullNullModel used;
    Decoder decoder{used, retriever, sticky};
    decoder.generate(prompt, options);
    CHECK(decoder.generate(longer, options).tokens == expected);
    CHECK(std::ranges::equal(used.tokens(), fresh.tokens()));
}

}  // namespace test_decoder_sticky

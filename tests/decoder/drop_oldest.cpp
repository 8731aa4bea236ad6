#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

const auto forgetting = [](double keep) { return Policies{}.schedule(Never{}).overflow(DropOldest{keep}); };

}  // namespace

TEST_CASE("Generations in a full window are those of the simulation, which builds each wanted context itself") {
    std::size_t dropped = 0;
    std::size_t full = 0;
    std::size_t refused = 0;
    for (const bool prepend : {false, true}) {
        for (const bool markers : {false, true}) {
            for (const std::size_t stride : {1u, 3u, 8u, 100u}) {
                for (const std::size_t window : {6u, 9u, 16u, 25u, 40u}) {
                    for (const double keep : {0.1, 0.5, 0.75, 1.0}) {
                        for (const std::size_t length : {1u, 5u, 15u, 60u}) {
                            CAPTURE(prepend);
                            CAPTURE(markers);
                            CAPTURE(stride);
                            CAPTURE(window);
                            CAPTURE(keep);
                            CAPTURE(length);
                            RandomRetriever retriever{9, 8, 20, window};
                            const Expected expected = check_generation(retriever, random_prompt(length),
                                                                       {.stride = stride,
                                                                        .max_tokens = 50,
                                                                        .prepend = prepend,
                                                                        .head = {1},
                                                                        .markers = markers ? Tokens{18, 19} : Tokens{},
                                                                        .window = window,
                                                                        .keep = keep});
                            dropped += expected.dropped > 0 ? 1 : 0;
                            full += expected.stop == StopReason::window_full ? 1 : 0;
                            refused += expected.refused ? 1 : 0;
                        }
                    }
                }
            }
        }
    }
    CHECK(dropped > 500);
    CHECK(full > 50);
    CHECK(refused > 20);
}

TEST_CASE("A rewind in a full window, even behind what was dropped, gives what the simulation gives") {
    std::size_t behind = 0;
    for (const bool prepend : {false, true}) {
        for (const std::size_t stride : {3u, 7u, 20u}) {
            for (const std::size_t rewind : {1u, 6u, 19u}) {
                for (const std::size_t window : {9u, 16u, 25u}) {
                    for (const std::optional<double> keep :
                         {std::optional{0.25}, std::optional{1.0}, std::optional<double>{}}) {
                        CAPTURE(prepend);
                        CAPTURE(stride);
                        CAPTURE(rewind);
                        CAPTURE(window);
                        RandomRetriever retriever{9, 4, 20, window};
                        const Expected expected = check_generation(retriever, random_prompt(2),
                                                                   {.stride = stride,
                                                                    .max_tokens = 60,
                                                                    .prepend = prepend,
                                                                    .head = {1},
                                                                    .rewind = rewind,
                                                                    .max_rewinds = 30,
                                                                    .window = window,
                                                                    .keep = keep});
                        behind += expected.restored;
                    }
                }
            }
        }
    }
    CHECK(behind > 0);
}

TEST_CASE("Without passages the window is used to its last position, and half of it stays") {
    FullNullModel model{20, 10};
    NoPassages nothing;
    Decoder decoder{model, nothing, forgetting(0.5)};
    std::vector<std::size_t> sizes;
    const Generation generation =
        decoder.generate(Tokens{3, 4}, {.max_tokens = 20, .ignore_eos = true}, [&](TokenId) { sizes.push_back(model.size()); });
    CHECK(to_string(generation.stop) == "max_tokens");
    // BOS and half of the 9 other positions, the newest token included.
    CHECK(sizes == std::vector<std::size_t>{3, 4, 5, 6, 7, 8, 9, 10, 5, 6, 7, 8, 9, 10, 5, 6, 7, 8, 9, 10});
    CHECK(generation.stats.dropped == 12);
    Tokens held{1};
    held.insert(held.end(), generation.tokens.end() - 10, generation.tokens.end() - 1);
    CHECK(std::ranges::equal(model.tokens(), held));
    CHECK(generation.stats.counts.evaluated == model.evaluated);
}

TEST_CASE("DropOldest{1} evaluates everything anew for each token") {
    FullNullModel model{20, 10};
    NoPassages nothing;
    Decoder decoder{model, nothing, forgetting(1)};
    const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 20, .ignore_eos = true});
    CHECK(model.evaluations == 20);
    CHECK(model.size() == 10);
    CHECK(generation.stats.dropped == 12);
    // The first 8 tokens in a window with room, then 12 times all but BOS (and by chance a token that stays where it was).
    CHECK(generation.stats.counts.requested == 3 + 7 + 12 * 10);
    CHECK(generation.stats.counts.evaluated <= 3 + 7 + 12 * 9);
}

TEST_CASE("A prompt longer than the window loses its beginning, also when nothing was generated yet") {
    for (std::size_t length = 9; length <= 30; ++length) {
        FullNullModel model{20, 10};
        NoPassages nothing;
        Decoder decoder{model, nothing, forgetting(0.5)};
        const Tokens prompt = random_prompt(length);
        const Generation generation = decoder.generate(prompt, {.max_tokens = 1, .ignore_eos = true});
        CHECK(generation.tokens.size() == 1);
        const std::size_t stays = length == 9 ? 9 : 4;
        CHECK(generation.stats.dropped == length - stays);
        CHECK(model.size() == 1 + stays);
        CHECK(std::ranges::equal(model.tokens().subspan(1), TokenSpan{prompt}.last(stays)));
    }
}

TEST_CASE("Passages that alone are longer than the window are an error at first, an ending later") {
    FullNullModel model{20, 10};
    FixedRetriever retriever{.passages = {{5, 6, 7, 8, 9, 10, 11, 12, 13}}};
    Decoder first{model, retriever, Policies{}.overflow(DropOldest{})};
    CHECK(error_of(ErrorCode::window,
                   [&] {
                       first.generate(Tokens{3, 4, 5});
                   }) ==
          "the window of the model holds 10 tokens, but the first context needs 13: 1 of the head, 3 of the prompt and 9 of "
          "retrieved passages");
    CHECK(model.size() == 0);
    CHECK(first.partial().stats.dropped == 0);

    const auto later = [](const StepView& step) { return step.generated() == 4; };
    Decoder second{model, retriever, Policies{}.schedule(later).overflow(DropOldest{})};
    const Generation generation = second.generate(Tokens{3, 4, 5}, {.max_tokens = 9, .ignore_eos = true});
    CHECK(to_string(generation.stop) == "window_full");
    CHECK(generation.tokens.size() == 4);
    CHECK(generation.retrievals.empty());
    CHECK(generation.stats.counts.evaluated == model.evaluated);

    retriever.passages[0].pop_back();  // one position is left for the text
    const Generation tight = second.generate(Tokens{3, 4, 5}, {.max_tokens = 9, .ignore_eos = true});
    CHECK(to_string(tight.stop) == "max_tokens");
    CHECK(model.size() == 10);
    CHECK(model.tokens()[1] == tight.tokens[7]);
}

TEST_CASE("The text that policies see is whole, whatever was dropped") {
    FullNullModel model{20, 10};
    NoPassages nothing;
    const auto schedule = [](const StepView& step) {
        CHECK(step.prompt_tokens == 2);
        CHECK(step.context.size() == 2 + step.generated());
        CHECK(step.context[0] == 3);
        return false;
    };
    Decoder decoder{model, nothing, forgetting(0.5).schedule(schedule)};
    CHECK(decoder.generate(Tokens{3, 4}, {.max_tokens = 30, .ignore_eos = true}).tokens.size() == 30);
}

TEST_CASE("The next generation starts with nothing dropped") {
    FullNullModel model{20, 10};
    NoPassages nothing;
    Decoder decoder{model, nothing, forgetting(0.5)};
    CHECK(decoder.generate(Tokens{3, 4}, {.max_tokens = 30, .ignore_eos = true}).stats.dropped > 0);
    const Generation next = decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true});
    CHECK(next.stats.dropped == 0);
    CHECK(std::ranges::equal(model.tokens().first(3), Tokens{1, 3, 4}));
}

TEST_CASE("An overflow policy that drops all or more ends the generation, and one that drops too little is asked again") {
    NoPassages nothing;
    for (const std::size_t beyond : {0u, 1u, 1000u}) {
        FullNullModel model{20, 10};
        const auto all = [beyond](const FullWindow& full) { return full.context + beyond; };
        Decoder decoder{model, nothing, Policies{}.schedule(Never{}).overflow(all)};
        const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 30, .ignore_eos = true});
        CHECK(to_string(generation.stop) == "window_full");
        CHECK(generation.tokens.size() == 8);
        CHECK(generation.stats.dropped == 0);
    }
    FullNullModel model{20, 10};
    std::vector<std::size_t> asked;
    const auto one = [&](const FullWindow& full) {
        CHECK(full.window == 10);
        CHECK(full.wanted == full.context + 1);
        asked.push_back(full.context);
        return std::size_t{1};
    };
    Decoder decoder{model, nothing, Policies{}.schedule(Never{}).overflow(one)};
    CHECK(decoder.generate(random_prompt(13), {.max_tokens = 2, .ignore_eos = true}).stats.dropped == 5);
    CHECK(asked == std::vector<std::size_t>{13, 12, 11, 10, 10});
}

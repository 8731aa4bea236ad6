// Promise 7: no allocation between two retrievals, with models that cost nothing.
#include "decoder/quiet.hpp"

#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 200;

/// A text of ten letters to a token.
constexpr auto letters = [](TokenId) { return std::string_view{"abcdefghij"}; };

const SamplingOptions truncated{.temperature = 0.9f, .top_k = 40, .top_p = 0.9f, .min_p = 0.01f, .seed = 1};

template <class P>
void check(const P& policies, std::size_t warm = 0) {
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{12, vocab};
    check_quiet(model, retriever, policies, warm);
}

/// With a window, which a NullModel has not.
struct Windowed : testing::NullModel {
    using testing::NullModel::NullModel;
    static std::size_t window() { return 64; }
};

}  // namespace

TEST_CASE("A decoder allocates nothing between two retrievals, from the first one on") {
    for (const std::size_t stride : {8u, 40u, 1000u}) {
        CAPTURE(stride);
        const auto plain = Policies{}.schedule(EveryNTokens{stride});
        const auto markers = plain.wrapper(MarkerTokens{3, 4});
        check(plain);
        check(markers);
        check(markers.layout(PrependPassages{}));
        check(plain.wrapper(MarkerText{{5, 6}, {7}}));
        check(markers.reuse(RecomputeAll{}));
        check(markers.sampler(TruncatedSampling{truncated}));
        check(markers.sampler(RepetitionPenalty{{.penalty = 1.2f}, TruncatedSampling{truncated}}));
    }
}

TEST_CASE("Nor do schedules made of schedules that look at the logits, and rewinds allocate only at their retrievals") {
    const auto doubtful = [](const StepView& step) {
        return step.since_retrieval > 10 && step.margin() + step.entropy() + step.probability() > 0;
    };
    check(Policies{}.schedule(any_of(Once{}, at_most(3, all_of(EveryNTokens{20}, doubtful)))));
}

TEST_CASE("Nor do policies that are chosen at run time, from a retriever that is") {
    for (const std::size_t stride : {8u, 40u}) {
        testing::NullModel model{vocab};
        AnyRetriever retriever{testing::NullRetriever{12, vocab}};
        const AnyPolicies policies{AnySchedule{any_of(AnySchedule{EveryNTokens{stride}}, Never{})},
                                   AnyQuery{},
                                   AnyWrapper{MarkerTokens{3, 4}},
                                   AnyLayout{},
                                   AnyReuse{},
                                   AnySampler{RepetitionPenalty{{}, TruncatedSampling{truncated}}},
                                   AnyOverflow{DropOldest{}},
                                   AnyStopping{}};
        check_quiet(model, retriever, policies);
    }
}

TEST_CASE("Stop strings keep the growing text; a decoder that has generated as much before allocates nothing") {
    for (const std::size_t stride : {8u, 40u}) {
        check(Policies{}.schedule(EveryNTokens{stride}).stopping(StopStrings{{"jk", "x", "abd"}, letters}), 1);
        check(Policies{}.schedule(EveryNTokens{stride}).stopping(AnyStopping{StopStrings{{"jk"}, letters}}), 1);
    }
}

TEST_CASE("Dropping the oldest text in a full window allocates nothing, the first time either") {
    for (const double keep : {0.3, 1.0}) {
        for (const std::size_t stride : {50u, 1000u}) {
            CAPTURE(keep);
            CAPTURE(stride);
            Windowed model{vocab};
            testing::NullRetriever retriever{12, vocab};
            check_quiet(model, retriever,
                        Policies{}.schedule(EveryNTokens{stride}).wrapper(MarkerTokens{3, 4}).overflow(DropOldest{keep}));
        }
    }
}

namespace {

struct WrongGuesses : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    static constexpr bool remembers_queries = false;  // it is asked in order, and what is taken back does not matter here
    TokenBuffer other = {5, 6};
    Passage guessed = {.id = "none of them", .tokens = other};
    std::span<const Passage> speculate(const Query&, std::size_t) { return {&guessed, 1}; }
};

}  // namespace

TEST_CASE("A decoder that guesses allocates nothing between two retrievals after it went back") {
    testing::NullModel model{vocab};
    WrongGuesses retriever{12, vocab};
    SpeculativeDecoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{8}), {.stride = 1}};
    std::vector<std::size_t> calls;
    calls.reserve(160);
    const Generation text =
        decoder.generate(std::vector<TokenId>{1, 2, 3}, {.max_tokens = 160, .ignore_eos = true, .surprisals = true},
                         [&](TokenId) { calls.push_back(allocations().calls); });
    REQUIRE(calls.size() == 160);
    CHECK(text.stats.speculation.rolled_back == 20);  // each retrieval was guessed first
    std::size_t quiet = 0;
    for (std::size_t at = 0; at < 160; at += 8) quiet += calls[at + 7] == calls[at] ? 1u : 0u;
    CHECK(quiet == 20);
    CHECK(calls.back() > calls.front());
}

TEST_CASE("The check finds a sampler that allocates") {
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{12, vocab};
    const auto wasteful = [](std::span<const float> logits) {
        return Greedy{}(std::vector<float>(logits.begin(), logits.end()));
    };
    Decoder decoder{model, retriever, Policies{}.sampler(wasteful)};
    const std::vector<TokenId> prompt{1, 2, 3};
    std::vector<std::size_t> calls;
    calls.reserve(8);
    decoder.generate(prompt, {.max_tokens = 8}, [&](TokenId) { calls.push_back(allocations().calls); });
    CHECK(calls.back() - calls.front() == 7);
}

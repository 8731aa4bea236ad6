// Examples are what the protocol says, whatever lays them out; and their order depends on seed and place alone.
#include "flashback/data/retrieval_examples.hpp"

#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/policies.hpp"
#include "support/errors.hpp"
#include "support/ranked_passages.hpp"

#include <map>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t window = 64;
constexpr TokenId bos = 1;
constexpr TokenId left = 501;
constexpr TokenId right = 502;

struct World {
    TextStream text;
    RankedPassages passages;

    World() {
        SplitMix64 random{11};
        for (int d = 0; d < 60; ++d) text.add("doc" + std::to_string(d), "", random_tokens(random, 10 + random.below(30), 500));
        for (int p = 0; p < 50; ++p)
            passages.add("p" + std::to_string(p), "", random_tokens(random, 12 + random.below(12), 500));
    }
};

TokenBuffer joined(std::initializer_list<TokenSpan> parts) {
    TokenBuffer all;
    for (const TokenSpan part : parts) append(all, part);
    return all;
}

}  // namespace

TEST_CASE("Examples are head, context and passages in the order of the layout, and the stride that they predict") {
    const World world;
    const TokenSpan text = world.text.tokens();
    const StrideOptions options = training_strides(window, 9, {.stride = 4, .passage_tokens = 16});
    CHECK(options.init == 64);
    CHECK(options.context == 32);
    CHECK(options.most_context == 59);
    const RetrievedStrides strides = retrieve_strides(world.text, world.passages, LastNTokens{8}, options);
    const TokenBuffer head{bos};
    const auto examples_of = [&](AnyLayout layout, bool markers) {
        const AnyPolicies policies = AnyPolicies{}
                                         .layout(std::move(layout))
                                         .wrapper(markers ? AnyWrapper{MarkerTokens{left, right}} : AnyWrapper{NoMarkers{}});
        return RetrievalExamples{text, strides, policies, head, window};
    };
    const auto append_marked = examples_of(AnyLayout{AppendPassages{}}, true);
    const auto append_plain = examples_of(AnyLayout{AppendPassages{}}, false);
    const auto prepend_marked = examples_of(AnyLayout{PrependPassages{}}, true);
    const auto aside_marked = examples_of(AnyLayout{PassagesAside{{.seeing = 3}}}, true);
    REQUIRE(append_marked.size() == (text.size() - 64) / 4);
    std::size_t cut = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const std::size_t at = 64 + 4 * i;
        const TokenSpan passage = world.passages.tokens(world.passages.ranking(text.subspan(at - 8, 8))[0]);
        const TokenSpan document = passage.first(std::min<std::size_t>(passage.size(), 16));
        const TokenBuffer marked = joined({TokenBuffer{left}, document, TokenBuffer{right}});
        const std::size_t context = strides[i].context;
        REQUIRE(context >= 32);
        REQUIRE(context <= 59);
        // doc + source = c, but head, markers and stride leave 57 of 64.
        const std::size_t marked_length = std::min<std::size_t>(context, 57) - document.size();
        const std::size_t plain_length = std::min<std::size_t>(context, 59) - document.size();
        cut += context > 57;
        const TokenSpan targets = text.subspan(at, 4);
        REQUIRE(append_marked[i].tokens == joined({head, text.subspan(at - marked_length, marked_length), marked, targets}));
        REQUIRE(append_plain[i].tokens == joined({head, text.subspan(at - plain_length, plain_length), document, targets}));
        REQUIRE(prepend_marked[i].tokens == joined({head, marked, text.subspan(at - marked_length, marked_length), targets}));
        // Beside the text, passages and marks take no positions from it; the newest 3 tokens see them.
        const std::size_t aside_length = std::min<std::size_t>(context - document.size(), 59);
        const TokenSpan read = text.subspan(at - aside_length, aside_length);
        REQUIRE(aside_marked[i].tokens == joined({head, read.first(aside_length - 3), marked, read.last(3), targets}));
        REQUIRE(aside_marked[i].beside == PassageRows{1, aside_length - 2, aside_length - 2 + marked.size()});
        REQUIRE(aside_marked[i].targets.front() == aside_marked[i].tokens.size() - 4);
        REQUIRE(append_marked[i].beside == PassageRows{});
        const auto size = static_cast<std::uint32_t>(append_marked[i].tokens.size());
        REQUIRE(size <= window);
        REQUIRE(append_marked[i].targets == std::vector<std::uint32_t>{size - 4, size - 3, size - 2, size - 1});
    }
    CHECK(cut > 0);
}

TEST_CASE("Examples without retrieval have contexts of the same lengths, and no markers") {
    const World world;
    StrideOptions options = training_strides(window, 9, {.stride = 4});
    const RetrievedStrides with = retrieve_strides(world.text, world.passages, LastNTokens{8}, options);
    options.passages = 0;
    const RetrievedStrides without = retrieve_strides(world.text, world.passages, LastNTokens{8}, options);
    const RetrievalExamples examples{world.text.tokens(), without, Policies{}.wrapper(MarkerTokens{left, right}), {}, window};
    for (std::size_t i = 0; i < examples.size(); ++i) {
        REQUIRE(without[i].context == with[i].context);
        const std::size_t at = 64 + 4 * i;
        const std::size_t context = std::min<std::size_t>(with[i].context, 60);
        const TokenSpan expected = world.text.tokens().subspan(at - context, context + 4);
        REQUIRE(examples[i].tokens == TokenBuffer{expected.begin(), expected.end()});
    }
}

TEST_CASE("Several passages beside the text are one block of an example, and of their own they are refused") {
    const World world;
    const StrideOptions options = training_strides(window, 9, {.stride = 4, .passages = 2, .passage_tokens = 8});
    const RetrievedStrides strides = retrieve_strides(world.text, world.passages, LastNTokens{8}, options);
    const TokenBuffer head{bos};
    const auto policies = Policies{}.wrapper(MarkerTokens{left, right});
    const RetrievalExamples examples{world.text.tokens(), strides, policies.layout(PassagesAside{}).fusion(ConcatenateJoined{}),
                                     head, window};
    REQUIRE(strides[0].found() == 2);
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const PassageRows rows = examples[i].beside;
        REQUIRE(rows.size() == strides[i].passages.size() + 2);
        REQUIRE(
            std::ranges::equal(TokenSpan{examples[i].tokens}.subspan(rows.begin + 1, rows.size() - 2), strides[i].passages));
    }
    check_error(
        ErrorCode::contract, "stride 0 has 2 passages beside the text, each on its own, expected AsideOptions::joined", [&] {
            static_cast<void>(RetrievalExamples{world.text.tokens(), strides, policies.layout(PassagesAside{}), head, window});
        });
}

TEST_CASE("The default of the paper: contexts of 256 to 495 tokens in a window of 512") {
    const StrideOptions options = training_strides(512, 1);
    CHECK(options.init == 512);
    CHECK(options.stride == 16);
    CHECK(options.context == 256);
    CHECK(options.most_context == 495);
    CHECK(options.passage_tokens == 128);
}

TEST_CASE("Examples that make no sense are refused in words") {
    const World world;
    const TokenSpan text = world.text.tokens();
    const TokenBuffer head{bos};
    check_error(ErrorCode::contract, "a window of 32 tokens is too short", [] { static_cast<void>(training_strides(32, 1)); });
    const RetrievedStrides strides =
        retrieve_strides(world.text, world.passages, LastNTokens{8}, training_strides(window, 9, {.stride = 4}));
    const auto make = [&](TokenSpan of, const RetrievedStrides& which, std::size_t most) {
        static_cast<void>(RetrievalExamples{of, which, Policies{}, head, most});
    };
    check_error(ErrorCode::contract, "no strides to make training examples of", [&] { make(text, {}, window); });
    check_error(ErrorCode::contract, "at most 0 tokens", [&] { make(text, strides, 0); });
    check_error(ErrorCode::contract, "expected strides of this text", [&] { make(text.first(200), strides, window); });
    check_error(ErrorCode::window, "leaves no room for text", [&] { make(text, strides, 20); });
}

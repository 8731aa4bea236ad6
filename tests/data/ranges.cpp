// Strides and documents as ranges: the same as by their numbers, and how long they may live.
#include "flashback/data/ranges.hpp"

#include "flashback/policy/query.hpp"
#include "support/ranked_passages.hpp"

#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <range/v3/range/concepts.hpp>

using namespace flashback;
using namespace flashback_test;

namespace {

TextStream three_documents() {
    TextStream text;
    text.add("a", "A", TokenBuffer{1, 2, 3, 4, 5});
    text.add("empty", "", {});
    text.add("b", "B", TokenBuffer{6, 7, 8, 9, 10, 11, 12});
    return text;
}

/// Strides of 2 tokens behind the first 4, each with the passage 70 71.
RetrievedStrides strides_of(const TextStream& text) {
    RankedPassages passages;
    passages.add("other", "Other", TokenBuffer{70, 71});
    return retrieve_strides(text, passages, LastNTokens{2}, {.init = 4, .stride = 2, .context = 3});
}

template <class Text>
concept HasDocuments = requires(Text&& text) {
    { each_document(std::forward<Text>(text)) } -> ranges::range;
};

}  // namespace

TEST_CASE("Each stride comes once, in order, from a copy that keeps the passages alive") {
    const TextStream text = three_documents();
    const auto strides = each_stride(strides_of(text));  // of strides that nobody else has
    static_assert(ranges::random_access_range<decltype(strides)> && ranges::sized_range<decltype(strides)>);
    const RetrievedStrides expected = strides_of(text);
    REQUIRE(strides.size() == 4);
    std::size_t i = 0;
    for (const RetrievedStride stride : strides) {
        CHECK(stride.at == 4 + 2 * i);
        CHECK(stride.context == 3);
        CHECK(TokenBuffer{stride.passages.begin(), stride.passages.end()} == TokenBuffer{70, 71});
        CHECK(stride.found() == expected[i].found());
        ++i;
    }
    CHECK(i == 4);
    CHECK(each_stride(RetrievedStrides{}).empty());
    CHECK(strides[3].at == 10);
}

TEST_CASE("Each document comes once, with the tokens that are its own") {
    const TextStream text = three_documents();
    std::vector<std::string> ids;
    std::vector<TokenBuffer> tokens;
    for (const auto& [document, own] : each_document(text)) {
        ids.push_back(document.id);
        tokens.emplace_back(own.begin(), own.end());
    }
    CHECK(ids == std::vector<std::string>{"a", "empty", "b"});
    CHECK(tokens == std::vector<TokenBuffer>{{1, 2, 3, 4, 5}, {}, {6, 7, 8, 9, 10, 11, 12}});
    CHECK(each_document(std::as_const(text)).size() == 3);
    const TextStream nothing;
    CHECK(each_document(nothing).empty());
    static_assert(HasDocuments<const TextStream&> && !HasDocuments<TextStream>);
}

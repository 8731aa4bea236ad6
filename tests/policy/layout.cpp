#include "flashback/policy/layout.hpp"

#include <array>

#include <doctest/doctest.h>

namespace test_policy_layout {

using namespace flashback;

namespace {

constexpr std::array<TokenId, 1> head{1};
constexpr std::array<TokenId, 2> passage{2, 3};
constexpr std::array<TokenSpan, 1> passages{passage};
constexpr std::array<TokenId, 2> context{4, 5};
constexpr LayoutParts parts{head, passages, context};

}  // namespace

TEST_CASE("layouts put the parts in order behind what is there") {
    TokenBuffer out{0};
    PrependPassages{}(parts, out);
    CHECK(out == TokenBuffer{0, 1, 2, 3, 4, 5});
    out = {0};
    AppendPassages{}(parts, out);
    CHECK(out == TokenBuffer{0, 1, 4, 5, 2, 3});
    out = {0};
    AppendAndRepeat{1}(parts, out);
    CHECK(out == TokenBuffer{0, 1, 4, 5, 2, 3, 5});
    out = {0};
    AppendAndRepeat{}(parts, out);  // more than there are
    CHECK(out == TokenBuffer{0, 1, 4, 5, 2, 3, 4, 5});
}

TEST_CASE("empty parts add nothing") {
    TokenBuffer out;
    PrependPassages{}(LayoutParts{}, out);
    AppendPassages{}(LayoutParts{}, out);
    CHECK(out.empty());
    AppendPassages{}(LayoutParts{head, {}, context}, out);
    CHECK(out == TokenBuffer{1, 4, 5});
    out = {};
    AppendAndRepeat{1}(LayoutParts{head, {}, context}, out);  // nothing stands between the context and what follows
    CHECK(out == TokenBuffer{1, 4, 5});
    out = {};
    AppendAndRepeat{1}(LayoutParts{head, passages, {}}, out);
    CHECK(out == TokenBuffer{1, 2, 3});
}

TEST_CASE("a lambda is a layout") {
    const auto context_only = [](const LayoutParts& p, TokenBuffer& out) { append(out, p.context); };
    static_assert(ContextLayout<decltype(context_only)>);
    static_assert(!ContextLayout<int>);
    TokenBuffer out;
    context_only(parts, out);
    CHECK(out == TokenBuffer{4, 5});
}

}  // namespace test_policy_layout

// A file of JSON takes memory that does not grow without bounds beyond the file itself.
#include "flashback/format/json_tree.hpp"

#include "support/allocations.hpp"
#include "support/errors.hpp"

#include <cstddef>
#include <string>

#include <doctest/doctest.h>

namespace test_format_json_tree {

using namespace flashback;
using flashback_test::allocations_of;
using flashback_test::check_error;

namespace {

std::string repeated(const std::string& what, std::size_t times) {
    std::string text;
    text.reserve(what.size() * times);
    for (std::size_t i = 0; i < times; ++i) text += what;
    return text;
}

}  // namespace

TEST_CASE("hostile 32: JSON of nothing but small elements is refused before it takes many times its bytes") {
    constexpr std::size_t half = std::size_t{1} << 20;
    for (const std::string& text :
         {'[' + repeated("1,", 8 * half - 2) + "1]", '[' + repeated("[],", 5 * half) + "1]",
          '[' + repeated("[1,[1,1]],", half) + "1]", R"({"a":[)" + repeated("null,", 3 * half) + "0]}"}) {
        CAPTURE(text.substr(0, 20));
        REQUIRE(text.size() <= std::size_t{16} << 20);
        const auto parse = [&] { JsonTree::parse(text, "x.json"); };
        check_error(ErrorCode::format, "'x.json' has more than 131072 elements in lists", parse);
        CHECK(allocations_of(parse).bytes <= std::size_t{32} << 20);
    }
}

TEST_CASE("as many elements and fields as a file may have are read") {
    const JsonTree::Most most{.fields = 2, .elements = 3};
    CHECK(JsonTree::parse(R"({"a":[1,2],"b":[3]})", "x.json", most).text() == R"({"a":[1,2],"b":[3]})");
    check_error(ErrorCode::format, "'x.json' has more than 3 elements in lists",
                [&] { JsonTree::parse(R"({"a":[1,2],"b":[3,4]})", "x.json", most); });
    check_error(ErrorCode::format, "'x.json' has more than 3 elements in lists",
                [&] { JsonTree::parse("[[1],[2]]", "x.json", most); });
    check_error(ErrorCode::format, "'x.json' has more than 2 fields",
                [&] { JsonTree::parse(R"([{"a":1},{"a":1,"b":2}])", "x.json", most); });
    check_error(ErrorCode::format, "'x.json' has 9 bytes, expected at most 8",
                [] { JsonTree::parse("[1,2,3,4]", "x.json", {.bytes = 8}); });
}

}  // namespace test_format_json_tree

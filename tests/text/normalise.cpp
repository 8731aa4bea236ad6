#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_normalise {

using namespace flashback;

TEST_CASE("letters and their marks become one character") {
    const std::vector<std::pair<std::string, std::string>> cases{
        {"", ""},
        {"plain text", "plain text"},
        {"\u00e9", "\u00e9"},
        {"e\u0301", "\u00e9"},
        {"\u0065\u0323\u0302", "\u1ec7"},  // two marks
        {"\u0065\u0302\u0323", "\u1ec7"},  // and in the other order
        {"\u1e69", "\u1e69"},
        {"s\u0307\u0323", "\u1e69"},
        {"\u212b", "\u00c5"},  // the sign of Angstrom is a letter
        {"\u2126", "\u03a9"},
        {"\u0344", "\u0308\u0301"},  // excluded from composition
        {"\u0958", "\u0915\u093c"},
        {"a\u0315\u0300\u05ae\u0062", "\u00e0\u05ae\u0315\u0062"},
        {"\u1112\u1161\u11ab", "\ud55c"},  // Korean
        {"\ud558\u11ab", "\ud55c"},
        {"\u0301e", "\u0301e"},  // a mark without a letter
        {"\u11a7\uac00\u11a7", "\u11a7\uac00\u11a7"},
        {"\uf900", "\u8c48"},
        {"\U0001d15e", "\U0001d157\U0001d165"},
        {"e\xff\u0301", "e\xff\u0301"}};  // what is no UTF-8 stays, and keeps the mark away
    for (const auto& one : cases) {
        CAPTURE(one.first);
        CHECK(normal_form_c(one.first) == one.second);
        CHECK(normal_form_c(one.second) == one.second);
    }
}

TEST_CASE("the normal form of a normal form is itself, and that of two texts is found from theirs") {
    std::mt19937 random{1};
    const char32_t letters[]{'a',   'e',    0xe9,   0x1e69, 0x300,  0x301, 0x323, 0x302,
                             0x345, 0x1100, 0x1161, 0x11a8, 0xac00, 0x915, 0x93c, 0x212b};
    for (int round = 0; round < 2000; ++round) {
        std::string text;
        for (std::size_t n = random() % 12; n > 0; --n) append_utf8(text, letters[random() % std::size(letters)]);
        const std::string once = normal_form_c(text);
        CHECK(normal_form_c(once) == once);
        std::string rest;
        for (std::size_t n = random() % 6; n > 0; --n) append_utf8(rest, letters[random() % std::size(letters)]);
        CHECK(normal_form_c(once + rest) == normal_form_c(text + rest));
    }
}

}  // namespace test_text_normalise

#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_unicode {

using namespace flashback;
using namespace std::string_view_literals;

namespace {

std::string utf8(char32_t c) {
    std::string out;
    append_utf8(out, c);
    return out;
}

bool is(std::string_view text, char32_t value, std::size_t bytes, bool valid) {
    const CodePoint c = first_code_point(text);
    return c.value == value && c.bytes == bytes && c.valid == valid;
}

bool valid(std::string_view text, char32_t value) { return is(text, value, text.size(), true); }
bool invalid(std::string_view text, std::size_t bytes) { return is(text, 0xfffd, bytes, false); }

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> out;
    for_each_word(text, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("every scalar value is written and read back") {
    int wrong = 0;
    for (char32_t c = 0; c <= 0x10ffff; ++c) {
        if (c >= 0xd800 && c <= 0xdfff) continue;
        wrong += !valid(utf8(c), c);
    }
    CHECK(wrong == 0);
}

TEST_CASE("the borders of table 3-7 are valid") {
    CHECK(valid("\0"sv, 0));
    CHECK(valid("\x7f", 0x7f));
    CHECK(valid("\xc2\x80", 0x80));
    CHECK(valid("\xdf\xbf", 0x7ff));
    CHECK(valid("\xe0\xa0\x80", 0x800));
    CHECK(valid("\xe0\xbf\xbf", 0xfff));
    CHECK(valid("\xe1\x80\x80", 0x1000));
    CHECK(valid("\xec\xbf\xbf", 0xcfff));
    CHECK(valid("\xed\x80\x80", 0xd000));
    CHECK(valid("\xed\x9f\xbf", 0xd7ff));
    CHECK(valid("\xee\x80\x80", 0xe000));
    CHECK(valid("\xef\xbf\xbf", 0xffff));
    CHECK(valid("\xf0\x90\x80\x80", 0x10000));
    CHECK(valid("\xf0\xbf\xbf\xbf", 0x3ffff));
    CHECK(valid("\xf1\x80\x80\x80", 0x40000));
    CHECK(valid("\xf3\xbf\xbf\xbf", 0xfffff));
    CHECK(valid("\xf4\x80\x80\x80", 0x100000));
    CHECK(valid("\xf4\x8f\xbf\xbf", 0x10ffff));
}

TEST_CASE("one step beyond the borders of table 3-7 is not valid") {
    for (int lead = 0x80; lead <= 0xff; ++lead) {
        if (lead >= 0xc2 && lead <= 0xf4) continue;
        CAPTURE(lead);
        CHECK(invalid(std::string{static_cast<char>(lead)} + "\x80\x80\x80", 1));
    }
    CHECK(invalid("\xc2\x7f", 1));
    CHECK(invalid("\xdf\xc0", 1));
    CHECK(invalid("\xe0\x9f\xbf", 1));
    CHECK(invalid("\xe0\xc0\x80", 1));
    CHECK(invalid("\xe1\x7f\x80", 1));
    CHECK(invalid("\xe1\xc0\x80", 1));
    CHECK(invalid("\xe1\x80\x7f", 2));
    CHECK(invalid("\xe1\x80\xc0", 2));
    CHECK(invalid("\xed\xa0\x80", 1));
    CHECK(invalid("\xed\xbf\xbf", 1));
    CHECK(invalid("\xf0\x8f\xbf\xbf", 1));
    CHECK(invalid("\xf0\xc0\x80\x80", 1));
    CHECK(invalid("\xf0\x90\x7f\x80", 2));
    CHECK(invalid("\xf0\x90\x80\xc0", 3));
    CHECK(invalid("\xf4\x90\x80\x80", 1));
    CHECK(invalid("\xf4\x7f\x80\x80", 1));
}

TEST_CASE("a character that is cut short takes all the bytes that began it") {
    CHECK(invalid("\xc3", 1));
    CHECK(invalid("\xe2\x82", 2));
    CHECK(invalid("\xf0\x9f\x98", 3));
    CHECK(invalid("\xf0\x9f\x98x", 3));
}

TEST_CASE("incomplete_utf8 counts the bytes of a character that may still become complete") {
    const std::vector<std::string> characters{utf8(0x24),   utf8(0xa2),    utf8(0x20ac),  utf8(0x800),
                                              utf8(0xd7ff), utf8(0x1f600), utf8(0x10ffff)};
    for (const std::string& c : characters) {
        for (std::size_t length = 0; length <= c.size(); ++length) {
            const std::size_t expected = length == c.size() ? 0 : length;
            CAPTURE(c);
            CAPTURE(length);
            CHECK(incomplete_utf8(c.substr(0, length)) == expected);
            CHECK(incomplete_utf8("abc" + c.substr(0, length)) == expected);
            CHECK(incomplete_utf8(utf8(0x1f600) + c.substr(0, length)) == expected);
        }
    }
}

TEST_CASE("bytes that can never become a character are not incomplete") {
    for (const std::string_view text :
         {"\x80"sv, "\x80\x80\x80\x80"sv, "\xc0"sv, "\xc1"sv, "\xf5"sv, "\xff"sv, "\xe0\x80"sv, "\xe0\x9f"sv, "\xed\xa0"sv,
          "\xf0\x80"sv, "\xf0\x8f\x80"sv, "\xf4\x90"sv, "\xf5\x80\x80"sv, "\xc3\xa9\x80"sv}) {
        CAPTURE(text);
        CHECK(incomplete_utf8(text) == 0);
    }
    CHECK(incomplete_utf8("\x80\xe2") == 1);
    CHECK(incomplete_utf8("\xe2\xe2\x82") == 2);
}

TEST_CASE("incomplete_utf8 agrees with what comes next") {
    int wrong = 0;
    for (int a = 0; a < 256; ++a) {
        for (int b = 0; b < 256; ++b) {
            const std::string two{static_cast<char>(a), static_cast<char>(b)};
            std::size_t expected = 0;
            const auto completes = [](const std::string& begin) {
                for (int c = 0x80; c <= 0xbf; ++c) {
                    for (const std::string& end :
                         {std::string{static_cast<char>(c)}, static_cast<char>(c) + std::string{"\x80"},
                          static_cast<char>(c) + std::string{"\x80\x80"}}) {
                        const CodePoint found = first_code_point(begin + end);
                        if (found.valid && found.bytes == begin.size() + end.size()) return true;
                    }
                }
                return false;
            };
            if (a >= 0x80 && completes(two)) {
                expected = 2;
            } else if (b >= 0x80 && completes(two.substr(1))) {
                expected = 1;
            }
            wrong += incomplete_utf8(two) != expected;
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("what is no UTF-8 is replaced and counted") {
    const auto check = [](std::string_view text, std::string_view expected, std::size_t replaced) {
        const ValidText found = replace_invalid_utf8(text);
        CHECK(found.text == expected);
        CHECK(found.replaced == replaced);
    };
    check("", "", 0);
    check("a\xc3\xa4\0b"sv, "a\xc3\xa4\0b"sv, 0);
    check("a\xff-b", "a\xef\xbf\xbd-b", 1);
    check("\xef\xbf\xbd", "\xef\xbf\xbd", 0);
    check("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", 2);
    check("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3);
    // The example of the Unicode Standard, table 3-11.
    check("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\x41", 4);
    check("x\xe2\x82", "x\xef\xbf\xbd", 1);
}

TEST_CASE("letters of ASCII, Latin, Greek and Cyrillic become lower case") {
    for (char32_t c = 0; c < 0x80; ++c) CHECK(to_lower(c) == (c >= 'A' && c <= 'Z' ? c + 32 : c));
    for (char32_t c = 0xc0; c <= 0xde; ++c) CHECK(to_lower(c) == (c == 0xd7 ? c : c + 32));
    for (char32_t c = 0xdf; c <= 0xff; ++c) CHECK(to_lower(c) == c);
    for (char32_t c = 0x100; c <= 0x12f; ++c) CHECK(to_lower(c) == (c | 1));
    for (char32_t c = 0x391; c <= 0x3a9; ++c) {
        if (c != 0x3a2) CHECK(to_lower(c) == c + 32);
    }
    for (char32_t c = 0x410; c <= 0x42f; ++c) CHECK(to_lower(c) == c + 32);
    for (char32_t c = 0x400; c <= 0x40f; ++c) CHECK(to_lower(c) == c + 80);
    CHECK(to_lower(0x178) == 0xff);
    CHECK(to_lower(0x139) == 0x13a);
    CHECK(to_lower(0x386) == 0x3ac);
    CHECK(to_lower(0x3c2) == 0x3c2);
    CHECK(to_lower(0x1e9e) == 0xdf);
    CHECK(to_lower(0x212a) == 'k');
    CHECK(to_lower(0x10400) == 0x10428);
    CHECK(to_lower(0x4e2d) == 0x4e2d);
}

TEST_CASE("what is in lower case stays") {
    int changed = 0;
    for (char32_t c = 0; c <= 0x10ffff; ++c) changed += to_lower(to_lower(c)) != to_lower(c);
    CHECK(changed == 0);
}

TEST_CASE("letters, marks and numbers are parts of words") {
    for (const char32_t c : {U'a', U'Z', U'0', char32_t{0xe9}, char32_t{0x3b1}, char32_t{0x434}, char32_t{0x301},
                             char32_t{0x4e2d}, char32_t{0x660}, char32_t{0xbd}, char32_t{0x1d400}}) {
        CAPTURE(static_cast<std::uint32_t>(c));
        CHECK(is_word_character(c));
    }
    for (const char32_t c :
         {U' ', U'_', U'-', U'@', U'[', U'`', U'{', U'/', U':', char32_t{0xa0}, char32_t{0xd7}, char32_t{0x2019},
          char32_t{0x20ac}, char32_t{0x3002}, char32_t{0x1f600}, char32_t{0xfffd}, char32_t{0x10ffff}}) {
        CAPTURE(static_cast<std::uint32_t>(c));
        CHECK_FALSE(is_word_character(c));
    }
}

TEST_CASE("white space is Unicode's White_Space") {
    std::vector<char32_t> found;
    for (char32_t c = 0; c <= 0x10ffff; ++c) {
        if (is_white_space(c)) found.push_back(c);
    }
    CHECK(found == std::vector<char32_t>{0x9,    0xa,    0xb,    0xc,    0xd,    0x20,   0x85,   0xa0,   0x1680,
                                         0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008,
                                         0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000});
}

TEST_CASE("words are the longest runs of word characters in lower case") {
    CHECK(words("").empty());
    CHECK(words(" -- \n").empty());
    CHECK(words("Hello, World") == Words{"hello", "world"});
    CHECK(words("don't x86_64 3.5") == Words{"don", "t", "x86", "64", "3", "5"});
    CHECK(words("\xc3\x84PFEL \xce\xa3\xce\x9f\xce\xa6\xce\x99\xce\x91 \xd0\x9c\xd0\x98\xd0\xa0") ==
          Words{"\xc3\xa4pfel", "\xcf\x83\xce\xbf\xcf\x86\xce\xb9\xce\xb1", "\xd0\xbc\xd0\xb8\xd1\x80"});
    CHECK(words("e\xcc\x81t\xc3\xa9") == Words{"e\xcc\x81t\xc3\xa9"});
}

TEST_CASE("bytes that are no UTF-8 and NUL end a word") {
    CHECK(words("ab\xff"
                "cd\xe2\x82") == Words{"ab", "cd"});
    CHECK(words("ab\0cd"sv) == Words{"ab", "cd"});
}

TEST_CASE("hostile 43: what stands on a terminal does not steer it, and keeps its letters") {
    for (const std::string_view text :
         {"", "A title, 100 %", "na\u00efve \u4e2d\u6587 \u0627\u0644 \u05d0 \U0001f600 e\u0301 \u200d"})
        CHECK(harmless(text) == text);
    CHECK(harmless("\x1b[2J\x1b]0;x\a") == "\ufffd[2J\ufffd]0;x\ufffd");
    CHECK(harmless("a\u009b2Jb\x7f") == "a\ufffd2Jb\ufffd");
    CHECK(harmless("a\xff\xc3") == "a\ufffd\ufffd");
    CHECK(harmless("one\ntwo\tthree\r\0four"sv) == "one\ufffdtwo\ufffdthree\ufffd\ufffdfour");
    CHECK(harmless("one\ntwo\tthree\r\x1b", "\n\t") == "one\ntwo\tthree\ufffd\ufffd");
    std::set<char32_t> replaced;
    for (char32_t c = 0; c <= 0x10ffff; ++c) {
        if ((c < 0xd800 || c > 0xdfff) && harmless(utf8(c)) != utf8(c)) replaced.insert(c);
    }
    std::set<char32_t> expected{0x61c,  0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b,
                                0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069};
    for (char32_t c = 0; c < 0x20; ++c) expected.insert(c);
    for (char32_t c = 0x7f; c < 0xa0; ++c) expected.insert(c);
    CHECK(replaced == expected);
}

}  // namespace test_text_unicode

#include "flashback/retrieval/passages.hpp"
#include "flashback/text/unicode.hpp"

#include "flashback/files/load.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

const Tokenizer& tokenizer() {
    static const Tokenizer loaded = load_tokenizer(std::filesystem::path{FLASHBACK_TEST_MODEL});
    return loaded;
}

/// `words` short words, each a token or two, with a full stop behind every `sentence`-th.
std::string words(std::size_t count, std::size_t sentence) {
    std::string text;
    for (std::size_t i = 1; i <= count; ++i)
        text += std::string{i > 1 ? " " : ""} + "the" + (sentence && i % sentence == 0 ? "." : "");
    return text;
}

Passages cut(const std::string& text, std::size_t most) { return Passages{{{"d", "t", text}}, tokenizer(), most}; }

}  // namespace

TEST_CASE("A short document is one passage and keeps its id") {
    const Passages passages = cut("A compiler is a program.", 128);
    REQUIRE(passages.size() == 1);
    CHECK(passages[0].id == "d");
    CHECK(passages[0].title == "t");
    CHECK(passages[0].text == "A compiler is a program.");
    CHECK(std::ranges::equal(passages[0].tokens, tokenizer().encode("A compiler is a program.")));
}

TEST_CASE("A cut falls behind a sentence that ends in the last quarter") {
    // Every sentence is 10 words and a full stop: 11 tokens. The last that ends at 24..32 tokens ends at 22 + 11 = 33 > 32,
    // so at 22 with a limit of 28 (last quarter 21..28) and between words with a limit of 30 (last quarter 23..30).
    const std::string text = words(60, 10);
    REQUIRE(tokenizer().encode(text).size() == 66);
    CHECK(cut(text, 28)[0].tokens.size() == 22);
    CHECK(cut(text, 28)[0].text.ends_with("the."));
    CHECK(cut(text, 30)[0].tokens.size() == 30);
    CHECK(cut(text, 33)[0].tokens.size() == 33);
}

TEST_CASE("A full stop before closing quotes ends a sentence, one inside a number or a name does not") {
    const std::string quoted = words(20, 0) + " \"the end.\" " + words(20, 0);
    const std::size_t end = tokenizer().encode(words(20, 0) + " \"the end.\"").size();
    CHECK(cut(quoted, end + 3)[0].tokens.size() == end);
    const std::string number = words(20, 0) + " 3.14 " + words(20, 0);
    const std::size_t inside = tokenizer().encode(words(20, 0) + " 3.14").size();
    CHECK(cut(number, inside + 3)[0].tokens.size() == inside + 3);
}

TEST_CASE("Passages are at most as long as asked, follow each other, and lose nothing but white space") {
    std::string text;
    for (int i = 0; i < 200; ++i)
        text += "Line " + std::to_string(i * 7919 % 1000) +
                " of it: na\xc3\xafve, \xe6\x97\xa5\xe6\x9c\xac.\n\n  And (more) \"text!\"  ";
    const auto without_white = [](std::string_view s) {
        std::string out;
        for (const char c : s) {
            if (c != ' ' && c != '\n') out += c;
        }
        return out;
    };
    for (const std::size_t most : {1u, 2u, 5u, 16u, 128u}) {
        CAPTURE(most);
        const Passages passages = cut(text, most);
        std::string all;
        for (std::size_t i = 0; i < passages.size(); ++i) {
            CHECK(passages[i].tokens.size() <= most);
            CHECK(passages[i].id == "d#" + std::to_string(i + 1));
            CHECK(passages.document_of(i) == 0);
            all += passages[i].text;
            if (most >= 4) CHECK(replace_invalid_utf8(passages[i].text).replaced == 0);
        }
        CHECK(without_white(all) == without_white(text));
    }
}

TEST_CASE("A document of white space has no passage") {
    CHECK(cut("", 8).size() == 0);
    CHECK(cut(" \n \n", 8).size() == 0);
}

TEST_CASE("Whole documents are not cut and have no tokens") {
    const Passages passages{{{"a", "t", words(500, 10)}, {"b", "", ""}}};
    REQUIRE(passages.size() == 2);
    CHECK(passages[0].id == "a");
    CHECK(passages[0].text == words(500, 10));
    CHECK(passages[0].tokens.empty());
}

TEST_CASE("A limit of 0 tokens is refused") { CHECK_THROWS_AS(cut("x", 0), Error); }

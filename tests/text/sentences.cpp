#include "flashback/text/sentences.hpp"

#include "flashback/policy/sentence.hpp"

#include "text/sentence_break_cases.hpp"

#include <cstddef>
#include <iterator>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_sentences {

using namespace flashback;

namespace {

std::vector<std::string> sentences(std::string_view text) {
    std::vector<std::string> all;
    for (const std::string_view each : Sentences{text}) all.emplace_back(each);
    return all;
}

using Strings = std::vector<std::string>;

/// Whether a sentence ends with the last of these pieces.
bool ends(const Strings& pieces) {
    TokenBuffer tokens;
    for (std::size_t i = 0; i < pieces.size(); ++i) tokens.push_back(static_cast<TokenId>(i));
    SentenceByText rule{[&](TokenId token) { return pieces[static_cast<std::size_t>(token)]; }};
    return rule(tokens);
}

static_assert(std::forward_iterator<Sentences::Iterator> && std::ranges::forward_range<Sentences>);
static_assert(next_sentence("One. Two.", 0) == 5);
static_assert(SentenceRule<SentenceByText<std::string (*)(TokenId)>>);

}  // namespace

TEST_CASE("sentences: every test of Unicode") {
    CHECK(std::size(sentence_break_cases) == 502);
    for (const std::string_view written : sentence_break_cases) {
        CAPTURE(std::string{written});
        std::string text;
        std::vector<std::size_t> expected;
        for (std::size_t at = 0; at < written.size();) {
            const std::size_t end = std::min(written.find(' ', at), written.size());
            const std::string_view word = written.substr(at, end - at);
            if (word == "|") {
                expected.push_back(text.size());
            } else {
                append_utf8(text, static_cast<char32_t>(std::stoul(std::string{word}, nullptr, 16)));
            }
            at = end + 1;
        }
        std::vector<std::size_t> found{0};
        while (found.back() < text.size()) found.push_back(next_sentence(text, found.back()));
        CHECK(found == expected);
    }
}

TEST_CASE("sentences of plain text") {
    CHECK(sentences("").empty());
    CHECK(sentences("One. Two! Three?") == Strings{"One. ", "Two! ", "Three?"});
    CHECK(sentences("He said \"No.\" Then he left.") == Strings{"He said \"No.\" ", "Then he left."});
    CHECK(sentences("It is 3.14, i.e. more than 3. That is all") == Strings{"It is 3.14, i.e. more than 3. ", "That is all"});
    CHECK(sentences("Of etc. and so on. Next") == Strings{"Of etc. and so on. ", "Next"});
    CHECK(sentences("a\r\nb\n\nc") == Strings{"a\r\n", "b\n", "\n", "c"});
    CHECK(sentences("\u3053\u308c\u3002\u305d\u308c\u3002") == Strings{"\u3053\u308c\u3002", "\u305d\u308c\u3002"});
    CHECK(sentences("Bytes. \xff\xfe. Now") == Strings{"Bytes. ", "\xff\xfe. ", "Now"});
    CHECK(sentences(std::string(10000, '.')).size() == 1);
}

TEST_CASE("sentences: what they are made of is the text, and where it is cut does not matter") {
    const std::string text =
        "One two. Three, four? \"Five.\" (Six) 7.8 nine\nTen. e.g. this; \u00c9t\u00e9. \u0418 \u0434\u0430! End";
    std::string all;
    for (const std::string_view each : Sentences{text}) {
        CHECK(!each.empty());
        CHECK(sentences(each).size() == 1);
        all += each;
    }
    CHECK(all == text);
}

TEST_CASE("SentenceByText: a sentence ends with the newest token, if a capital letter follows") {
    CHECK(ends({"One", " two", "."}));
    CHECK(ends({"One", ".", "\""}));
    CHECK(ends({"One", ".\" "}));
    CHECK(ends({"One", "?"}));
    CHECK(ends({"One", "\n"}));
    CHECK(ends({"One", "\nand"}));
    CHECK(ends({"\u3053", "\xe3", "\x80", "\x82"}));
    CHECK_FALSE(ends({}));
    CHECK_FALSE(ends({"One", " two"}));
    CHECK_FALSE(ends({"One", ".", " The"}));
    CHECK_FALSE(ends({"One", ",", " "}));
    CHECK_FALSE(ends({"It", " is", " 3", "."}));  // 3.14, perhaps
    CHECK(ends({"It", " is", " 3", ".", " "}));
    CHECK(ends(Strings(100, "a.")));
    CHECK_FALSE(ends(Strings(100, "")));
}

}  // namespace test_text_sentences

#include "flashback/retrieval/passages.hpp"
#include "flashback/files/load.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_passages {

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

const Codec& codec() {
    static const Codec made = codec_of(tokenizer());
    return made;
}

Passages cut(const std::string& text, std::size_t most) { return Passages{{{"d", "t", text}}, codec(), most}; }

/// One token for each byte; `space` puts one in front of each text, `@` becomes a token that says `?`.
Codec bytes(bool space = false) {
    Codec codec;
    codec.encode = [space](std::string_view text) {
        std::vector<TokenId> tokens;
        if (space) tokens.push_back(' ');
        for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
        return tokens;
    };
    codec.decode = [](TokenSpan tokens) {
        std::string text;
        for (const TokenId token : tokens) text += token == '@' ? '?' : static_cast<char>(token);
        return text;
    };
    return codec;
}

bool lies_in(std::string_view part, std::string_view whole) {
    return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

std::vector<std::string> texts(const Passages& passages) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < passages.size(); ++i) out.emplace_back(passages[i].text);
    return out;
}

std::string as_text(TokenSpan tokens) { return bytes().decode(tokens); }

using Texts = std::vector<std::string>;

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

TEST_CASE("A text is not copied where the document has what the tokens say") {
    std::string text = "\n One sentence here. And another one, which is longer. The third.  ";
    for (const bool space : {false, true}) {
        const Passages passages{{{"d", "", text}}, bytes(space), 24};
        REQUIRE(passages.size() > 2);
        for (std::size_t i = 0; i < passages.size(); ++i) CHECK(lies_in(passages[i].text, passages.documents()[0].text));
        CHECK(passages[0].text == "One sentence here.");
    }
    const Passages real{{{"d", "", words(300, 10)}}, codec(), 32};
    for (std::size_t i = 0; i < real.size(); ++i) CHECK(lies_in(real[i].text, real.documents()[0].text));
    // A moved collection has the same texts.
    Passages first{{{"d", "", "short"}}, bytes(), 24};
    const Passages second = std::move(first);
    CHECK(second[0].text == "short");
    CHECK(lies_in(second[0].text, second.documents()[0].text));
    const Passages copy = second;
    CHECK(lies_in(copy[0].text, copy.documents()[0].text));
}

TEST_CASE("A text is what the tokens say where that is not in the document") {
    const Passages passages{{{"d", "", "aaaa bbbb cc@c dddd"}}, bytes(), 5};
    CHECK(texts(passages) == Texts{"aaaa", "bbbb", "cc?c", "dddd"});
    CHECK(lies_in(passages[1].text, passages.documents()[0].text));
    Codec nothing = bytes();
    nothing.decode = [](TokenSpan) { return std::string{}; };
    CHECK(Passages{{{"d", "", "text"}}, nothing, 8}.size() == 0);
    Codec twice = bytes();
    twice.decode = [](TokenSpan tokens) { return as_text(tokens) + as_text(tokens); };
    CHECK(texts(Passages{{{"d", "", "ab"}}, twice, 8}) == Texts{"aabb"});
}

TEST_CASE("Spaces that a tokenizer adds inside a text, and tokens that say something else, change no other text") {
    const std::string text = "kernel\nThe part of a system.\n\n  Indented, \n-x\n";
    const Passages real{{{"d", "", text}}, codec(), 128};
    REQUIRE(real.size() == 1);
    CHECK(real[0].text == "kernel\nThe part of a system.\n\n  Indented, \n-x");
    CHECK(lies_in(real[0].text, real.documents()[0].text));
    // A space behind each line break, as SentencePiece has it around user-defined tokens.
    Codec spaced = bytes();
    spaced.encode = [](std::string_view all) {
        std::vector<TokenId> tokens{' '};
        for (const char c : all) {
            tokens.push_back(static_cast<unsigned char>(c));
            if (c == '\n') tokens.push_back(' ');
        }
        return tokens;
    };
    const Passages lines{{{"d", "", "one\ntwo\n three\n\nfour"}}, spaced, 64};
    CHECK(texts(lines) == Texts{"one\ntwo\n three\n\nfour"});
    // Words; some say nothing like themselves, and the passages after them view the document again.
    Codec unsure;
    static const std::vector<std::string> said{"alpha", " beta", " ??", " gamma", " delta", " eta"};
    unsure.encode = [](std::string_view) { return std::vector<TokenId>{0, 1, 2, 3, 4, 5}; };
    unsure.decode = [](TokenSpan tokens) {
        std::string all;
        for (const TokenId token : tokens) all += said[static_cast<std::size_t>(token)];
        return all;
    };
    const Passages some{{{"d", "", "alpha beta \u2603\u2603 gamma delta eta"}}, unsure, 2};
    CHECK(texts(some) == Texts{"alpha beta", "?? gamma", "delta eta"});
    CHECK(lies_in(some[0].text, some.documents()[0].text));
    CHECK(!lies_in(some[1].text, some.documents()[0].text));
    CHECK(lies_in(some[2].text, some.documents()[0].text));
}

TEST_CASE("Each passage but the first begins with the title, if the text does") {
    const std::string text = "Title\naaaa bbbb cccc dddd eeee ffff gggg hhhh";
    const Passages passages{{{"d", "Title", text}}, bytes(), 24};
    REQUIRE(texts(passages) == Texts{"Title\naaaa bbbb cccc", "Title\ndddd eeee ffff", "Title\ngggg hhhh"});
    CHECK(as_text(passages[1].tokens) == "Title\ndddd eeee ffff");
    // A title in the middle, or of another text, does not count.
    CHECK(texts(Passages{{{"d", "aaaa", text}}, bytes(), 24})[1] == "dddd eeee ffff gggg hhhh");
    CHECK(texts(Passages{{{"d", "", text}}, bytes(), 24})[1] == "dddd eeee ffff gggg hhhh");
    // A head counts, too.
    Codec headed = bytes();
    headed.head = {'<', '>'};
    const Passages with_head{{{"d", "Title", text}}, headed, 26};
    CHECK(texts(with_head) == texts(passages));
    CHECK(as_text(with_head[2].tokens) == "<>Title\ngggg hhhh");
    const Passages alone{{{"d", "Title", "Title\ntext"}}, bytes(), 24};
    CHECK(texts(alone) == Texts{"Title\ntext"});
}

TEST_CASE("A title takes at most a quarter of the tokens, and whole characters of it stay") {
    const std::string title = "na\u00efve long title";
    const std::string text = title + '\n' + std::string(20, 'x') + " " + std::string(20, 'y') + " " + std::string(20, 'z');
    const auto second = [&](std::size_t most) {
        const Passages passages{{{"d", title, text}}, bytes(), most};
        for (std::size_t i = 0; i < passages.size(); ++i) CHECK(passages[i].tokens.size() <= most);
        const std::string found{passages[1].text};
        return found.substr(0, found.find('\n') + 1);
    };
    CHECK(second(12) == "na\n");  // three tokens: two for "na", one for the break
    CHECK(second(16) == "na\n");  // a third would be half a letter
    CHECK(second(20) == "na\u00ef\n");
    CHECK(second(40) == "na\u00efve lo\n");
    CHECK(second(24) == "na\u00efv\n");
    CHECK(second(4) == "");
    const std::string many = "A title of many words and more words than there is room for";
    const Passages real{{{"d", many, many + '\n' + words(200, 10)}}, codec(), 48};
    REQUIRE(real.size() > 3);
    for (std::size_t i = 1; i < real.size(); ++i) {
        CHECK(real[i].tokens.size() <= 48);
        CHECK(real[i].text.starts_with("A title"));
        CHECK(!real[i].text.starts_with(many));
    }
}

TEST_CASE("Passages of documents with different ids have different ids") {
    const std::string three = "aaaa bbbb cccc";
    std::vector<Document> documents;
    for (const char* id : {"a", "a#1", "a#2", "a#1#1", "b", "b#", "#1", "", "c#x", "c#1x", "1", "#"}) {
        documents.push_back({id, "", three});
        documents.push_back({std::string{id} + "#9", "", "one"});
        documents.push_back({std::string{id} + "!", "", "one"});
    }
    const Passages passages{documents, bytes(), 5};
    std::set<std::string> ids;
    for (std::size_t i = 0; i < passages.size(); ++i)
        CHECK_MESSAGE(ids.insert(std::string{passages[i].id}).second, passages[i].id);
    CHECK(ids.size() == 5 * 12);
    CHECK(ids.contains("a#1"));
    CHECK(ids.contains("a#1#1"));
    CHECK(ids.contains("a#9#1"));  // its only passage
    CHECK(ids.contains("a!"));
    CHECK(Passages{{{"b#", "", "one"}, {"#1", "", "one"}, {"1", "", "one"}}, bytes(), 5}[0].id == "b#");
    CHECK(Passages{{{"a#1", "", "one"}}}[0].id == "a#1");  // whole documents keep theirs
}

TEST_CASE("A document is cut without keeping anything, as Passages are") {
    const Document document{"d", "Title", "Title\n" + words(300, 10)};
    const Passages passages{{document}, codec(), 32};
    std::size_t count = 0;
    const auto compare = [&](const Passage& passage) {
        REQUIRE(count < passages.size());
        CHECK(passage.id == passages[count].id);
        CHECK(passage.title == "Title");
        CHECK(passage.text == passages[count].text);
        CHECK(std::ranges::equal(passage.tokens, passages[count].tokens));
        ++count;
    };
    cut_document(document, codec(), 32, compare);
    CHECK(count == passages.size());
    CHECK_THROWS_AS(cut_document(document, Codec{}, 32, compare), Error);
    Codec fails = bytes();
    fails.encode = [](std::string_view) -> std::vector<TokenId> { throw std::runtime_error{"no"}; };
    CHECK_THROWS_WITH(cut_document(document, fails, 32, compare), "no");
    Codec headed = bytes();
    headed.head = {1, 2};
    CHECK_THROWS_AS(cut_document(document, headed, 2, compare), Error);
    CHECK_THROWS_AS((Passages{std::vector<Document>{}, headed, 2}), Error);
}

TEST_CASE("The codec of a tokenizer: what it encodes it decodes, and other vocabularies have other fingerprints") {
    CHECK(codec().encode("some text") == tokenizer().encode("some text"));
    CHECK(codec().decode(codec().encode("some text")).ends_with("some text"));
    CHECK(codec().fingerprint == codec_of(tokenizer()).fingerprint);
    Vocabulary other = tokenizer().vocabulary();
    other.add_space_prefix = !other.add_space_prefix;
    CHECK(codec_of(Tokenizer{other}).fingerprint != codec().fingerprint);
}

}  // namespace test_retrieval_passages

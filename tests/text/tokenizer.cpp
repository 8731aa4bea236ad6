#include "flashback/text/tokenizer.hpp"

#include "support/errors.hpp"

#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_tokenizer {

using namespace flashback;
using flashback_test::check_error;

namespace {

using Tokens = std::vector<TokenId>;

const std::string space = "\xe2\x96\x81";

struct Entry {
    std::string piece;
    TokenKind kind = TokenKind::normal;
    float score = 0;
};

Vocabulary vocabulary_of(const std::vector<Entry>& entries) {
    Vocabulary v;
    v.model = "llama";
    for (const Entry& e : entries) {
        v.pieces.push_back(e.piece);
        v.kinds.push_back(e.kind);
        v.scores.push_back(e.score);
    }
    return v;
}

std::vector<Entry> letters(std::string_view text) {
    std::vector<Entry> out;
    for (const char c : text) out.push_back({std::string{c}});
    return out;
}

std::string spelled(int byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    const auto b = static_cast<std::size_t>(byte);
    return std::string{"<0x"} + digits[b / 16] + digits[b % 16] + '>';
}

/// "<unk>", "<s>", all byte tokens (id 2 + byte), then the entries.
Vocabulary with_bytes(const std::vector<Entry>& entries) {
    std::vector<Entry> all{{"<unk>", TokenKind::unknown}, {"<s>", TokenKind::control}};
    for (int b = 0; b < 256; ++b) all.push_back({spelled(b), TokenKind::byte});
    all.insert(all.end(), entries.begin(), entries.end());
    Vocabulary v = vocabulary_of(all);
    v.unknown = 0;
    v.bos = 1;
    return v;
}

Vocabulary valid_vocabulary() { return vocabulary_of(letters("ab")); }

void refuses(const Vocabulary& vocabulary, std::string_view part, ErrorCode code = ErrorCode::vocabulary) {
    check_error(code, part, [&] { Tokenizer{vocabulary}; });
}

/// The definition of the merging, read literally: as long as two neighbours are a token, the best-scored two become one.
std::vector<std::string> merged_slowly(const std::string& text, const std::map<std::string, float>& scores) {
    std::vector<std::string> pieces;
    for (const char c : text) pieces.emplace_back(1, c);
    for (;;) {
        std::size_t best = pieces.size();
        float most = 0;
        for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
            const auto it = scores.find(pieces[i] + pieces[i + 1]);
            if (it != scores.end() && (best == pieces.size() || it->second > most)) {
                best = i;
                most = it->second;
            }
        }
        if (best == pieces.size()) return pieces;
        pieces[best] += pieces[best + 1];
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

}  // namespace

TEST_CASE("the best-scored pair is merged first") {
    auto entries = letters("abc");
    entries.push_back({"ab", TokenKind::normal, -2});
    entries.push_back({"bc", TokenKind::normal, -1});
    const Tokenizer t{vocabulary_of(entries)};
    CHECK(t.encode("abc") == Tokens{0, 4});
    CHECK(t.encode("ab") == Tokens{3});
    CHECK(t.encode("").empty());
}

TEST_CASE("of equal scores the leftmost pair is merged first") {
    auto entries = letters("abc");
    entries.push_back({"ab", TokenKind::normal, -1});
    entries.push_back({"bc", TokenKind::normal, -1});
    entries.push_back({"aa", TokenKind::normal, -1});
    const Tokenizer t{vocabulary_of(entries)};
    CHECK(t.encode("abc") == Tokens{3, 2});
    CHECK(t.encode("aaa") == Tokens{5, 0});
    CHECK(t.encode("aaaab") == Tokens{5, 5, 1});
}

TEST_CASE("merging agrees with its definition for random vocabularies") {
    std::mt19937 random{1};
    const auto word = [&](std::size_t length) {
        std::string out;
        for (std::size_t i = 0; i < length; ++i) out += static_cast<char>('a' + random() % 3);
        return out;
    };
    for (int round = 0; round < 300; ++round) {
        auto entries = letters("abc");
        std::map<std::string, float> scores;
        for (int i = 0; i < 12; ++i) {
            const auto [it, added] = scores.emplace(word(2 + random() % 4), -static_cast<float>(random() % 4));
            if (added) entries.push_back({it->first, TokenKind::normal, it->second});
        }
        const Tokenizer t{vocabulary_of(entries)};
        for (int i = 0; i < 10; ++i) {
            const std::string text = word(random() % 30);
            std::vector<std::string> found;
            for (const TokenId id : t.encode(text)) found.push_back(t.piece(id));
            CAPTURE(text);
            REQUIRE(found == merged_slowly(text, scores));
        }
    }
}

TEST_CASE("a space is put in front only if the vocabulary wants it") {
    auto entries = letters("ab");
    entries.push_back({space});
    entries.push_back({space + "a"});
    Vocabulary v = vocabulary_of(entries);
    CHECK(Tokenizer{v}.encode("a a") == Tokens{0, 3});
    CHECK(Tokenizer{v}.decode_whole(Tokens{3, 3}) == " a a");
    v.add_space_prefix = true;
    const Tokenizer t{v};
    CHECK(t.encode("a a") == Tokens{3, 3});
    CHECK(t.encode(" a") == Tokens{2, 3});
    CHECK(t.encode("").empty());
    CHECK(t.decode(Tokens{3, 3}) == " a a");
    CHECK(t.decode_whole(Tokens{3, 3}) == "a a");
    CHECK(t.decode_whole(Tokens{2, 3}) == " a");
    CHECK(t.decode_whole(Tokens{1, 3}) == "b a");
}

TEST_CASE("a character that is no token becomes its bytes") {
    const Tokenizer t{with_bytes(letters("a"))};
    CHECK(t.encode("a\xc3\xa4") == Tokens{258, 2 + 0xc3, 2 + 0xa4});
    CHECK(t.encode(std::string{"\0\xff", 2}) == Tokens{2, 2 + 0xff});
    for (int b = 0; b < 256; ++b) CHECK(t.decode(2 + b) == std::string{static_cast<char>(b)});
    CHECK(t.encode(" ") == Tokens{2 + 0xe2, 2 + 0x96, 2 + 0x81});
}

TEST_CASE("a character without token and bytes becomes one unknown token") {
    auto entries = letters("ab");
    entries.push_back({"<unk>", TokenKind::unknown});
    Vocabulary v = vocabulary_of(entries);
    v.unknown = 2;
    CHECK(Tokenizer{v}.encode("a\xc3\xa4"
                              "b\xf0\x9f\x98\x80") == Tokens{0, 2, 1, 2});
    CHECK(Tokenizer{v}.decode(2) == " \xe2\x81\x87 ");
}

TEST_CASE("a character that nothing covers is an error") {
    check_error(ErrorCode::vocabulary, "covers the byte 195 in no way",
                [] { Tokenizer{valid_vocabulary()}.encode("a\xc3\xa4"); });
}

TEST_CASE("user-defined tokens are found before anything else, the longest first") {
    auto entries = letters("abc");
    entries.push_back({"bc", TokenKind::normal, 5});
    entries.push_back({"ab", TokenKind::user_defined});
    entries.push_back({"abca", TokenKind::user_defined});
    entries.push_back({"\n", TokenKind::user_defined});
    const Tokenizer t{vocabulary_of(entries)};
    CHECK(t.encode("abc") == Tokens{4, 2});
    CHECK(t.encode("abca") == Tokens{5});
    CHECK(t.encode("ababca") == Tokens{4, 5});
    CHECK(t.encode("a\n\nbc\n") == Tokens{0, 6, 6, 3, 6});
    CHECK(t.decode(Tokens{0, 6, 5}) == "a\nabca");
}

TEST_CASE("a space is put in front of each text between user-defined tokens") {
    auto entries = letters("ab");
    entries.push_back({space});
    entries.push_back({"\n", TokenKind::user_defined});
    entries.push_back({" !", TokenKind::user_defined});
    Vocabulary v = vocabulary_of(entries);
    v.add_space_prefix = true;
    const Tokenizer t{v};
    CHECK(t.encode("a\nb") == Tokens{2, 0, 3, 2, 1});
    CHECK(t.encode("\n") == Tokens{3});
    for (const std::string_view text :
         {"a\nb", "\na", "\n a", "\n\n  b\n", " a \n b ", " ", "  ", "\n", " !", " !a", "a !", " ! ! !", "\n !", " ! a"}) {
        CAPTURE(text);
        CHECK(t.decode_whole(t.encode(text)) == text);
    }
}

TEST_CASE("text that spells control, byte, unknown and unused tokens is plain text") {
    auto entries = letters("<>/sunk0x41");
    const auto first_special = static_cast<TokenId>(entries.size());
    entries.push_back({"<s>", TokenKind::control, 100});
    entries.push_back({"</s>", TokenKind::control, 100});
    entries.push_back({"<0x41>", TokenKind::byte, 100});
    entries.push_back({"<unk>", TokenKind::unknown, 100});
    entries.push_back({"un", TokenKind::unused, 100});
    entries.push_back({"k", TokenKind::control});
    const Tokenizer t{vocabulary_of(entries)};
    for (const std::string_view text : {"<s>", "</s>", "<0x41>", "<unk>", "un", "<s><0x41></s>"}) {
        const Tokens tokens = t.encode(text);
        CHECK(tokens.size() == text.size());
        for (const TokenId token : tokens) CHECK(token < first_special);
        CHECK(t.decode(tokens) == text);
    }
}

TEST_CASE("control and unused tokens add no text") {
    auto entries = letters("a");
    entries.push_back({"<s>", TokenKind::control});
    entries.push_back({"<pad>", TokenKind::unused});
    const Tokenizer t{vocabulary_of(entries)};
    CHECK(t.decode(Tokens{1, 0, 2, 0}) == "aa");
    CHECK(t.decode(1).empty());
}

TEST_CASE("tokens are found by text, control tokens too") {
    const Tokenizer t{with_bytes(letters("ab"))};
    CHECK(t.size() == 260);
    CHECK(t.find("b") == 259);
    CHECK(t.find("<s>") == 1);
    CHECK(t.id("<0x00>") == 2);
    CHECK_FALSE(t.find("c"));
    check_error(ErrorCode::vocabulary, "the vocabulary of 260 tokens has no token '<MARK_L>'", [&] { t.id("<MARK_L>"); });
    check_error(ErrorCode::vocabulary, "the vocabulary of 260 tokens has no token 'a??z'", [&] { t.id("a\n\x7fz"); });
}

TEST_CASE("an id that the vocabulary does not have is refused") {
    const Tokenizer t{valid_vocabulary()};
    for (const TokenId id : {-1, 2, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
        const std::string part = "token " + std::to_string(id) + " is not in the vocabulary of 2 tokens";
        check_error(ErrorCode::contract, part, [&] { t.decode(id); });
        check_error(ErrorCode::contract, part, [&] { t.piece(id); });
        check_error(ErrorCode::contract, part, [&] { t.decode(Tokens{0, id}); });
        check_error(ErrorCode::contract, part, [&] { t.decode_whole(Tokens{0, id}); });
        check_error(ErrorCode::contract, part, [&] { StreamDecoder{t}.push(id); });
    }
}

TEST_CASE("the head is BOS if the vocabulary wants it") {
    Vocabulary v = with_bytes({});
    CHECK(Tokenizer{v}.head().empty());
    v.add_bos = true;
    const Tokenizer t{v};
    REQUIRE(t.head().size() == 1);
    CHECK(t.head()[0] == 1);
    v.bos.reset();
    refuses(v, "wants BOS in front of every text, but names no BOS token");
}

TEST_CASE("byte tokens that are not spelled <0x00> to <0xFF> are refused") {
    for (const char* piece : {"<0x-1>", "<0xGG>", "<0x100>", "<0x1>", "<0x>", "", "<0X41>", "<0x41", "0x41", "<0x4 >", "<0x+4>",
                              "<0x4a>", "x0x41>"}) {
        CAPTURE(piece);
        refuses(vocabulary_of({{"a"}, {piece, TokenKind::byte}}), "the byte token 1 is not spelled <0x00> to <0xFF>");
    }
}

TEST_CASE("a vocabulary that contradicts itself is refused") {
    Vocabulary v = valid_vocabulary();
    v.scores.pop_back();
    refuses(v, "the vocabulary has 2 tokens, but 1 scores and 2 kinds");
    v = valid_vocabulary();
    v.kinds.push_back(TokenKind::normal);
    refuses(v, "the vocabulary has 2 tokens, but 2 scores and 3 kinds");
    v = valid_vocabulary();
    v.scores[1] = std::numeric_limits<float>::quiet_NaN();
    refuses(v, "the score of token 1 is not a number");
    refuses(vocabulary_of({}), "the vocabulary has no tokens");
    refuses(vocabulary_of({{"", TokenKind::user_defined}}), "the user-defined token 0 has no text");
    for (const int kind : {0, 7, 255}) {
        refuses(vocabulary_of({{"a", static_cast<TokenKind>(kind)}}),
                "token 0 has kind " + std::to_string(kind) + ", expected 1 to 6");
    }
}

TEST_CASE("special ids out of range are refused by name") {
    for (const TokenId id : {-1, 2, std::numeric_limits<TokenId>::max()}) {
        const std::string names = "the vocabulary of 2 tokens names " + std::to_string(id);
        Vocabulary v = valid_vocabulary();
        v.bos = id;
        refuses(v, names + " as its BOS token");
        v = valid_vocabulary();
        v.eos = id;
        refuses(v, names + " as its EOS token");
        v = valid_vocabulary();
        v.unknown = id;
        refuses(v, names + " as its unknown token");
    }
}

TEST_CASE("another algorithm is refused by name") {
    Vocabulary v = valid_vocabulary();
    v.model = "bert";
    refuses(v, "asks for the tokenizer 'bert', expected 'llama' (SentencePiece BPE) or 'gpt2' (byte-level BPE)",
            ErrorCode::unsupported);
    v.model = "\x1b[2J";
    refuses(v, "asks for the tokenizer '?[2J'", ErrorCode::unsupported);
}

TEST_CASE("a stream gives whole characters and loses nothing") {
    const Tokenizer t{with_bytes(letters("ab"))};
    StreamDecoder stream{t};
    CHECK(stream.push(258) == "a");
    CHECK(stream.push(2 + 0xf0).empty());
    CHECK(stream.push(2 + 0x9f).empty());
    CHECK(stream.push(2 + 0x98).empty());
    CHECK(stream.push(2 + 0x80) == "\xf0\x9f\x98\x80");
    CHECK(stream.push(2 + 0xe2).empty());
    CHECK(stream.push(259) ==
          "\xe2"
          "b");
    CHECK(stream.push(2 + 0xc3).empty());
    CHECK(stream.finish() == "\xc3");
    CHECK(stream.finish().empty());
    CHECK(stream.push(1).empty());
    CHECK(stream.push(259) == "b");
}

}  // namespace test_text_tokenizer

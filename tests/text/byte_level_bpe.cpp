#include "flashback/text/tokenizer.hpp"

#include "support/byte_level_vocabulary.hpp"
#include "support/sanitizer.hpp"

#include <cstddef>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_byte_level_bpe {

using namespace flashback;
using namespace std::string_view_literals;
using flashback_test::add;
using flashback_test::merge;
using flashback_test::spelled;
using flashback_test::with_all_bytes;
using flashback_test::with_bytes;

namespace {

using Tokens = std::vector<TokenId>;

std::vector<std::string> pieces(const Tokenizer& t, std::string_view text) {
    std::vector<std::string> out;
    for (const TokenId id : t.encode(text)) out.push_back(t.piece(id));
    return out;
}

using Pieces = std::vector<std::string>;

/// The definition of the merging, read literally: as long as two neighbours are a merge, the first two of the lowest rank
/// become one.
Pieces merged_slowly(std::string_view text, const std::map<std::pair<std::string, std::string>, std::size_t>& ranks) {
    Pieces out;
    for (const char c : text) out.emplace_back(1, c);
    for (;;) {
        std::size_t best = out.size(), lowest = 0;
        for (std::size_t i = 0; i + 1 < out.size(); ++i) {
            const auto it = ranks.find({out[i], out[i + 1]});
            if (it != ranks.end() && (best == out.size() || it->second < lowest)) {
                best = i;
                lowest = it->second;
            }
        }
        if (best == out.size()) return out;
        out[best] += out[best + 1];
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

}  // namespace

TEST_CASE("each byte has a character of its own, as in GPT-2") {
    CHECK(spelled("aZ!~") == "aZ!~");
    CHECK(spelled(" ") == "\u0120");
    CHECK(spelled("\n") == "\u010a");
    CHECK(spelled("\0"sv) == "\u0100");
    CHECK(spelled("\x7f\x80\xa0\xad\xa1\xff") == "\u0121\u0122\u0142\u0143\u00a1\u00ff");
    for (int b = 0; b < 256; ++b) {
        const std::string byte(1, static_cast<char>(b));
        std::string back;
        CHECK(detail::add_bytes_of_piece(spelled(byte), back));
        CHECK(back == byte);
    }
    for (const std::string_view piece : {" ", "\n", "\u0144", "\u4e2d", "\U0001f600", "\xc3", "\u00ad"}) {
        std::string back;
        CHECK_FALSE(detail::add_bytes_of_piece(piece, back));
    }
}

TEST_CASE("the pair of the lowest rank is merged first, of equals the leftmost") {
    Vocabulary v = with_bytes("abc");
    merge(v, "b", "c");
    merge(v, "a", "b");
    merge(v, "a", "a");
    const Tokenizer t{v};
    CHECK(pieces(t, "abc") == Pieces{"a", "bc"});
    CHECK(pieces(t, "ab") == Pieces{"ab"});
    CHECK(pieces(t, "aaa") == Pieces{"aa", "a"});
    CHECK(pieces(t, "aaaaab") == Pieces{"aa", "aa", "ab"});
    CHECK(t.encode("").empty());
}

TEST_CASE("two merges may make the same token, each at its rank") {
    Vocabulary v = with_bytes("abc");
    merge(v, "a", "b");
    merge(v, "ab", "c");
    merge(v, "b", "c");
    merge(v, "a", "bc");
    CHECK(pieces(Tokenizer{v}, "abc") == Pieces{"abc"});
    std::swap(v.merges[0], v.merges[2]);
    CHECK(pieces(Tokenizer{v}, "abcab") == Pieces{"abc", "ab"});
    v.merges.erase(v.merges.begin() + 3);
    CHECK(pieces(Tokenizer{v}, "abcab") == Pieces{"a", "bc", "ab"});
}

TEST_CASE("merging agrees with its definition for random vocabularies") {
    std::mt19937 random{1};
    for (int round = 0; round < 300; ++round) {
        Vocabulary v = with_bytes("abc");
        std::map<std::pair<std::string, std::string>, std::size_t> ranks;
        for (int i = 0; i < 14; ++i) {
            const std::string left = v.pieces[random() % v.size()], right = v.pieces[random() % v.size()];
            if (left.size() + right.size() > 8) continue;
            ranks.emplace(std::pair{left, right}, v.merges.size());
            merge(v, left, right);
        }
        const Tokenizer t{v};
        for (int i = 0; i < 10; ++i) {
            std::string text(random() % 40, 'a');
            for (char& c : text) c = static_cast<char>('a' + random() % 3);
            CAPTURE(text);
            REQUIRE(pieces(t, text) == merged_slowly(text, ranks));
        }
    }
}

TEST_CASE("words are merged one by one") {
    Vocabulary v = with_bytes("ab 1");
    merge(v, "a", " ");
    merge(v, " ", "a");
    merge(v, "a", "1");
    const Tokenizer t{v};
    CHECK(pieces(t, "a a1") == Pieces{"a", "\u0120a", "1"});
    CHECK(t.decode_whole(t.encode("a a1")) == "a a1");
}

TEST_CASE("a long word costs as much a byte as a short one") {
    for (const std::size_t n : {std::size_t{1000}, std::size_t{1} << (flashback_test::sanitized ? 16 : 20)}) {
        // Token k stands for 2^k letters; two of them make the next one.
        std::vector<detail::RankedMerge> merges;
        for (TokenId k = 0; k < 30; ++k) merges.push_back({static_cast<std::uint32_t>(k), k + 1});
        detail::BytePairScratch scratch;
        for (std::size_t i = 0; i < n; ++i) scratch.push(0);
        std::size_t looked_up = 0, letters = 0;
        detail::byte_pair_merge(
            scratch,
            [&](TokenId left, TokenId right) -> const detail::RankedMerge* {
                ++looked_up;
                return left == right ? &merges[static_cast<std::size_t>(left)] : nullptr;
            },
            [&](TokenId token) { letters += std::size_t{1} << token; });
        CHECK(letters == n);
        CHECK(looked_up < 3 * n);
        CHECK(scratch.symbols.empty());
        CHECK(scratch.pairs.empty());
    }
}

TEST_CASE("a megabyte of one letter is encoded whole") {
    Vocabulary v = with_all_bytes();
    std::string run = "a";
    for (int i = 0; i < 6; ++i, run += run) merge(v, run, run);
    const Tokenizer t{v};
    const std::string text((1 << 20) + 1, 'a');
    const Tokens tokens = t.encode(text);
    CHECK(tokens.size() == (1 << 14) + 1);
    CHECK(t.decode_whole(tokens) == text);
}

TEST_CASE("random bytes come back whole, by all pre-tokenizers") {
    std::mt19937 random{2};
    for (const char* pre : {"gpt-2", "llama-bpe", "qwen2"}) {
        Vocabulary v = with_all_bytes(pre);
        for (int i = 0; i < 300; ++i) {
            std::string left, right;
            detail::add_bytes_of_piece(v.pieces[random() % v.size()], left);
            detail::add_bytes_of_piece(v.pieces[random() % v.size()], right);
            merge(v, left, right);
        }
        add(v, "\xff\n", TokenKind::user_defined);
        add(v, "<s>", TokenKind::control);
        const Tokenizer t{v};
        for (int round = 0; round < 3000; ++round) {
            std::string text(random() % 50, '\0');
            for (char& c : text) c = random() % 4 ? static_cast<char>(random()) : " \n\xff<s>"[random() % 6];
            const Tokens tokens = t.encode(text);
            REQUIRE(t.decode_whole(tokens) == text);
            REQUIRE(t.decode(tokens) == text);
            StreamDecoder stream{t};
            std::string streamed;
            for (const TokenId token : tokens) streamed += stream.push(token);
            REQUIRE(streamed + stream.finish() == text);
        }
    }
}

TEST_CASE("a whole word that is a token is taken without merges by llama-bpe only") {
    for (const char* pre : {"gpt-2", "llama-bpe", "qwen2"}) {
        Vocabulary v = with_bytes("abc ", pre);
        add(v, spelled(" abc"));
        add(v, "cab", TokenKind::control);
        merge(v, "a", "b");
        const Tokenizer t{v};
        const Pieces merged{"\u0120", "ab", "c"}, whole{"\u0120abc"};
        CHECK(pieces(t, " abc") == (pre == "llama-bpe"sv ? whole : merged));
        CHECK(pieces(t, "abc") == Pieces{"ab", "c"});
        CHECK(pieces(t, "cab") == Pieces{"c", "ab"});
    }
}

TEST_CASE("user-defined tokens are found before anything else, spelled as text") {
    Vocabulary v = with_all_bytes();
    merge(v, " ", "a");
    add(v, "  ", TokenKind::user_defined);
    add(v, "\n\u4e2d", TokenKind::user_defined);
    const Tokenizer t{v};
    CHECK(t.encode("   a") == Tokens{257, 256});
    CHECK(t.encode("a\n\u4e2d") == Tokens{'a', 258});
    CHECK(t.decode(Tokens{257, 258}) == "  \n\u4e2d");
}

TEST_CASE("text that spells control, unknown and unused tokens is plain text") {
    for (const char* pre : {"gpt-2", "llama-bpe", "qwen2"}) {
        Vocabulary v = with_all_bytes(pre);
        for (const char* piece : {"abc", "<|x|>", "unk", "pad"}) {
            const auto kind = piece == "unk"sv ? TokenKind::unknown : piece == "pad"sv ? TokenKind::unused : TokenKind::control;
            add(v, piece, kind);
        }
        // Merges that lead to tokens which are not normal ones are left out, and so are those behind them.
        v.merges = {"u n", "un k", "p a", "a b", "ab c", "abc d"};
        add(v, "un");
        v.unknown = 258;
        const Tokenizer t{v};
        for (const std::string_view text : {"abc", "<|x|>", "unk", "pad", " abcd"}) {
            const Tokens tokens = t.encode(text);
            for (const TokenId token : tokens) CHECK((token < 256 || t.piece(token) == "un"));
            CHECK(t.decode_whole(tokens) == text);
        }
        CHECK(t.decode(Tokens{256, 257, 258, 259}).empty());
        CHECK(t.id("<|x|>") == 257);
        CHECK(t.find("un") == 260);
    }
}

TEST_CASE("merges of pieces that are no tokens are left out") {
    Vocabulary v = with_bytes("ab");
    v.merges = {"x y", "a y", "x b", "b a", "a b"};
    add(v, "ab");
    CHECK(pieces(Tokenizer{v}, "bab") == Pieces{"b", "ab"});
}

TEST_CASE("of equal merges the first counts") {
    Vocabulary v = with_bytes("abc");
    merge(v, "a", "b");
    merge(v, "b", "c");
    v.merges.push_back("a b");
    CHECK(pieces(Tokenizer{v}, "abc") == Pieces{"ab", "c"});
}

}  // namespace test_text_byte_level_bpe

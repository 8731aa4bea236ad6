#include "flashback/text/tokenizer.hpp"

#include "support/byte_level_vocabulary.hpp"
#include "support/errors.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_byte_level_bpe_hostile {

using namespace flashback;
using flashback_test::add;
using flashback_test::check_error;
using flashback_test::with_bytes;

namespace {

using Tokens = std::vector<TokenId>;

void refuses(const Vocabulary& vocabulary, std::string_view part, ErrorCode code = ErrorCode::vocabulary) {
    check_error(code, part, [&] { Tokenizer{vocabulary}; });
}

}  // namespace

TEST_CASE("a merge that is not two pieces is refused") {
    for (const char* bad : {"", " ", "a", "a ", " a", "a b c", "a  b", "a b ", " a b"}) {
        Vocabulary v = with_bytes("ab");
        v.merges = {"a b", bad};
        refuses(v, "merge 1 is '" + std::string{bad} + "', expected two pieces with one space between");
    }
    Vocabulary v = with_bytes("ab");
    v.merges = {"\x1b[2J"};
    refuses(v, "merge 0 is '?[2J'");
}

TEST_CASE("a byte without a token is an error that names it, where a text has it") {
    const Tokenizer t{with_bytes("ab")};
    CHECK(t.encode("ab") == Tokens{0, 1});
    check_error(ErrorCode::vocabulary, "the vocabulary of 2 tokens has no token for the byte 99", [&] { t.encode("abc"); });
    check_error(ErrorCode::vocabulary, "no token for the byte 195", [&] { t.encode("\xc3\xa4"); });
    Vocabulary v = with_bytes("ab");
    add(v, "<unk>", TokenKind::unknown);
    v.unknown = 2;
    check_error(ErrorCode::vocabulary, "no token for the byte 99", [&] { Tokenizer{v}.encode("c"); });
}

TEST_CASE("pieces of normal tokens stand for bytes, those of others need not") {
    for (const char* piece : {" a", "\n", "\u4e2d", "\u0144", "\xc3"}) {
        Vocabulary v = with_bytes("ab");
        add(v, piece, TokenKind::control);
        add(v, piece, TokenKind::user_defined);
        add(v, piece, TokenKind::unused);
        CHECK(Tokenizer{v}.size() == 5);
        add(v, piece);
        refuses(v, "the normal token 5 '");
        refuses(v, "' has a character that stands for no byte");
    }
}

TEST_CASE("tokens that cannot be told apart and byte tokens are refused") {
    Vocabulary v = with_bytes("aba");
    refuses(v, "the normal tokens 0 and 2 have the same text 'a'");
    v = with_bytes("ab");
    for (const char* piece : {"xy", "xyz", "xz", "xy"}) add(v, piece, TokenKind::user_defined);
    refuses(v, "the user-defined tokens 2 and 5 have the same text 'xy'");
    v = with_bytes("ab");
    add(v, "");
    add(v, "");
    CHECK(Tokenizer{v}.decode(Tokens{2, 0, 3}) == "a");
    add(v, "<0x41>", TokenKind::byte);
    refuses(v, "token 4 is a byte token, expected none with byte-level BPE");
}

TEST_CASE("scores are not needed, but must fit if they are there") {
    Vocabulary v = with_bytes("ab");
    v.scores = {0, 0};
    CHECK(Tokenizer{v}.encode("b") == Tokens{1});
    v.scores.pop_back();
    refuses(v, "2 tokens, but 1 scores and 2 kinds");
}

TEST_CASE("what byte-level BPE does not know is refused by name") {
    Vocabulary v = with_bytes("ab");
    v.add_space_prefix = true;
    refuses(v, "wants a space in front of texts", ErrorCode::unsupported);
    refuses(with_bytes("ab", "tekken"), "the pre-tokenizer 'tekken', expected 'gpt-2', 'llama-bpe' or 'qwen2'",
            ErrorCode::unsupported);
    refuses(with_bytes("ab", ""), "names no pre-tokenizer", ErrorCode::unsupported);
}

}  // namespace test_text_byte_level_bpe_hostile

#include "fuzz/target.hpp"

#include "flashback/text/tokenizer.hpp"
#include "support/byte_level_vocabulary.hpp"

#include <array>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

Vocabulary byte_level_of(const char* pre) {
    Vocabulary v = flashback_test::with_all_bytes(pre);
    for (const auto& [left, right] : {std::pair{"t", "h"}, std::pair{"th", "e"}, std::pair{" ", "the"}, std::pair{" ", " "},
                                      std::pair{"  ", "  "}, std::pair{"\xc3", "\xa4"}, std::pair{"1", "2"}})
        flashback_test::merge(v, left, right);
    flashback_test::add(v, "<mark>", TokenKind::user_defined);
    flashback_test::add(v, "<mark><mark>", TokenKind::user_defined);
    flashback_test::add(v, "<s>", TokenKind::control);
    return v;
}

Vocabulary sentencepiece_of(bool with_bytes) {
    Vocabulary v;
    v.model = "llama";
    v.add_space_prefix = with_bytes;
    const auto add = [&v](std::string piece, TokenKind kind, float score) {
        flashback_test::add(v, std::move(piece), kind);
        v.scores.push_back(score);
    };
    add("<unk>", TokenKind::unknown, 0);
    v.unknown = 0;
    add("<s>", TokenKind::control, 0);
    for (int b = 0; with_bytes && b < 256; ++b) {
        constexpr std::string_view digits = "0123456789ABCDEF";
        const auto digit = [&](int i) { return digits[static_cast<std::size_t>(i)]; };
        add(std::string{"<0x"} + digit(b / 16) + digit(b % 16) + '>', TokenKind::byte, 0);
    }
    for (const char* piece :
         {"\xe2\x96\x81", "t", "h", "e", "th", "the", "\xe2\x96\x81the", "\xe2\x96\x81\xe2\x96\x81", "\xc3\xa4"})
        add(piece, TokenKind::normal, -static_cast<float>(v.size() % 7));
    add("<mark>", TokenKind::user_defined, 0);
    return v;
}

const std::array<Tokenizer, 6> tokenizers{
    Tokenizer{byte_level_of("gpt-2")},  Tokenizer{byte_level_of("llama-bpe")},
    Tokenizer{byte_level_of("qwen2")},  Tokenizer{sentencepiece_of(true)},
    Tokenizer{sentencepiece_of(false)}, Tokenizer{flashback_test::with_bytes("the <>mark")}};

}  // namespace

// The first byte chooses one of six vocabularies.
FLASHBACK_FUZZ_TARGET(tokenizer, .per_byte = 2048, .constant = 65536) {
    if (bytes.empty()) return;
    const Tokenizer& tokenizer = tokenizers[std::to_integer<std::size_t>(bytes[0]) % tokenizers.size()];
    const std::string_view text = flashback_test::text_of(bytes.subspan(1));
    const std::vector<TokenId> tokens = tokenizer.encode(text);
    for (const TokenId token : tokens) {
        fuzz_check(token >= 0 && static_cast<std::size_t>(token) < tokenizer.size(), "a token is in the vocabulary");
        fuzz_check(tokenizer.find(tokenizer.piece(token)).has_value(), "a token is found by its text");
        fuzz_check(tokenizer.vocabulary().kinds[static_cast<std::size_t>(token)] != TokenKind::control,
                   "text never becomes a control token");
    }
    const bool all_come_back = &tokenizer != &tokenizers[4] && &tokenizer != &tokenizers[5] &&
                               (&tokenizer != &tokenizers[3] || text.find("\xe2\x96\x81") == text.npos);
    fuzz_check(!all_come_back || tokenizer.decode_whole(tokens) == text, "a text comes back whole");
    const bool valid = replace_invalid_utf8(text).replaced == 0;
    StreamDecoder stream{tokenizer};
    std::string streamed;
    for (const TokenId token : tokens) {
        const std::string part = stream.push(token);
        fuzz_check(!valid || incomplete_utf8(part) == 0, "a stream of a text in UTF-8 gives whole characters");
        streamed += part;
    }
    fuzz_check(streamed + stream.finish() == tokenizer.decode(tokens), "a stream loses nothing");
}

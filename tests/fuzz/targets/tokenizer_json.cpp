#include "fuzz/target.hpp"

#include "flashback/format/tokenizer_files.hpp"
#include "flashback/text/tokenizer.hpp"

using namespace flashback;
using flashback_test::fuzz_check;
using flashback_test::touch;

FLASHBACK_FUZZ_TARGET(tokenizer_json, .per_byte = 4096, .constant = 1 << 20) {
    Vocabulary vocabulary = parse_tokenizer_json(flashback_test::text_of(bytes), "fuzz.json");
    fuzz_check(vocabulary.pieces.size() == vocabulary.kinds.size(), "each piece has a kind");
    for (const std::string& piece : vocabulary.pieces) touch(piece);
    const Tokenizer tokenizer{std::move(vocabulary)};
    for (const TokenId token : tokenizer.encode("The cat's 12 \xe2\x82\xac"))
        fuzz_check(token >= 0 && static_cast<std::size_t>(token) < tokenizer.size(), "a token is in the vocabulary");
}

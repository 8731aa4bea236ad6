#include "fuzz/target.hpp"

#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

std::vector<std::string> terms_of(std::string_view text) {
    std::vector<std::string> terms;
    const auto add = [&terms](std::string_view term) {
        fuzz_check(!term.empty() && term.size() <= 255, "a term has 1 to 255 bytes");
        fuzz_check(replace_invalid_utf8(term).replaced == 0, "a term is UTF-8");
        terms.emplace_back(term);
    };
    WordAnalyzer{}.analyze(text, add);
    return terms;
}

/// Tokens are bytes.
Codec bytes_codec() {
    Codec codec;
    codec.encode = [](std::string_view text) {
        std::vector<TokenId> tokens;
        for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
        return tokens;
    };
    codec.decode = [](TokenSpan tokens) {
        std::string text;
        for (const TokenId token : tokens) text += static_cast<char>(token);
        return text;
    };
    return codec;
}

}  // namespace

// The first byte: how long passages are, and how much of the text is the title.
FLASHBACK_FUZZ_TARGET(analyzer, .per_byte = 2048, .constant = 65536) {
    if (bytes.empty()) return;
    const auto first = std::to_integer<std::size_t>(bytes[0]);
    const std::string_view text = flashback_test::text_of(bytes.subspan(1));
    fuzz_check(terms_of(text) == terms_of(normal_form_c(text)), "equivalent texts have the same terms");

    const std::size_t most = first % 64 + 1;
    const Document document{"id", std::string{text.substr(0, first / 64 * 4)}, std::string{text}};
    const Codec codec = bytes_codec();
    std::size_t passages = 0;
    const auto check = [&](const Passage& passage) {
        ++passages;
        fuzz_check(!passage.tokens.empty() && passage.tokens.size() <= most, "a passage is as long as asked");
        fuzz_check(!passage.text.empty(), "a passage has a text");
        fuzz_check(codec.decode(passage.tokens).ends_with(passage.text), "the tokens of a passage say its text");
        fuzz_check(passage.id == "id" || passage.id == "id#" + std::to_string(passages), "ids count up");
    };
    cut_document(document, codec, most, check);
    fuzz_check((passages == 0) == (text.find_first_not_of(" \t\n\r") == text.npos), "only white space has no passage");
}

// A search in the tokens of an engine of one's own: what flashback::retrieval alone is good for.
#include <flashback/retrieval/bm25.hpp>
#include <flashback/retrieval/codec.hpp>
#include <flashback/retrieval/cut_document.hpp>
#if defined(USES_ENGLISH)
#include <flashback/retrieval/english.hpp>
#endif

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

int main() {
    // An engine whose tokens are bytes.
    flashback::Codec codec;
    codec.encode = [](std::string_view text) { return std::vector<flashback::TokenId>(text.begin(), text.end()); };
    codec.decode = [](flashback::TokenSpan tokens) { return std::string(tokens.begin(), tokens.end()); };
    const std::vector<flashback::Document> documents{
        {.id = "1", .title = "compiler", .text = "compiler\nA compiler translates a program into another language."},
        {.id = "2", .title = "bread", .text = "bread\nBread is made of flour, water and salt."}};
    std::size_t passages = 0;
    const auto count = [&passages](const flashback::Passage& passage) { passages += passage.tokens.size() <= 40; };
    for (const flashback::Document& document : documents) flashback::cut_document(document, codec, 40, count);

    const flashback::Bm25Index index{documents};
    const auto hits = index.retrieve({.tokens = {}, .text = "a language for programs"}, 1);
    std::size_t terms = 0;
    const auto add = [&terms](std::string_view term) { terms += term == "compil"; };
#if defined(USES_ENGLISH)
    flashback::EnglishAnalyzer{}.analyze("the compilers", add);
#else
    add("compil");
#endif
    std::printf("%zu passages, found %.*s\n", passages, static_cast<int>(hits.at(0).title.size()), hits.at(0).title.data());
    return passages == 4 && hits.at(0).id == "1" && terms == 1 ? 0 : 1;
}

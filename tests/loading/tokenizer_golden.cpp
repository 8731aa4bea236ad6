#include "flashback/model/load.hpp"
#include "support/shared.hpp"

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

std::string contents(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// Every text ends with the separator, the last one too.
std::vector<std::string> texts_of(std::string_view file) {
    constexpr std::string_view separator = "\n__ggml_vocab_test__\n";
    std::vector<std::string> texts;
    while (!file.empty()) {
        const std::size_t end = file.find(separator);
        REQUIRE_MESSAGE(end != file.npos, "bytes behind the last separator");
        texts.emplace_back(file.substr(0, end));
        file.remove_prefix(end + separator.size());
    }
    return texts;
}

std::vector<std::vector<TokenId>> ids_of(const std::string& file) {
    std::vector<std::vector<TokenId>> all;
    std::istringstream lines{file};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream numbers{line};
        all.emplace_back(std::istream_iterator<TokenId>{numbers}, std::istream_iterator<TokenId>{});
    }
    return all;
}

/// All texts of a conformance file of llama.cpp have its ids, and come back from them.
void check_cases(const std::string& vocabulary, std::size_t tokens) {
    const std::string base = "data/tokenizers/" + vocabulary;
    const auto model = flashback_test::shared(base);
    if (model.empty()) return;
    const auto texts = texts_of(contents(flashback_test::shared(base + ".inp")));
    const auto ids = ids_of(contents(flashback_test::shared(base + ".out")));
    REQUIRE(texts.size() == 46);
    REQUIRE(ids.size() == 46);
    const Tokenizer tokenizer = load_tokenizer(model);
    CHECK(tokenizer.size() == tokens);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        CAPTURE(texts[i]);
        CHECK(tokenizer.encode(texts[i]) == ids[i]);
        CHECK(tokenizer.decode_whole(ids[i]) == texts[i]);
    }
}

}  // namespace

TEST_CASE("the Llama tokenizer gives the ids of llama.cpp") { check_cases("llama-spm/ggml-vocab-llama-spm.gguf", 32000); }

TEST_CASE("the GPT-2 tokenizer gives the ids of llama.cpp") { check_cases("gpt2/ggml-vocab-gpt-2.gguf", 50257); }

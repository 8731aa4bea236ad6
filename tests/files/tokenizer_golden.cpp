#include "flashback/files/load.hpp"
#include "flashback/format/tokenizer_files.hpp"
#include "support/shared.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

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

/// The texts of a conformance file of llama.cpp and their ids.
struct Cases {
    explicit Cases(const std::string& base)
        : texts(texts_of(contents(flashback_test::shared(base + ".inp")))),
          ids(ids_of(contents(flashback_test::shared(base + ".out")))) {
        REQUIRE(texts.size() == 46);
        REQUIRE(ids.size() == 46);
    }
    std::vector<std::string> texts;
    std::vector<std::vector<TokenId>> ids;
};

constexpr const char* gpt2 = "data/tokenizers/gpt2/ggml-vocab-gpt-2.gguf";
constexpr const char* llama = "data/tokenizers/llama-spm/ggml-vocab-llama-spm.gguf";

/// All texts of a conformance file have its ids, and come back from them.
void check_cases(const Tokenizer& tokenizer, const Cases& cases, std::size_t tokens) {
    CHECK(tokenizer.size() == tokens);
    for (std::size_t i = 0; i < cases.texts.size(); ++i) {
        CAPTURE(cases.texts[i]);
        CHECK(tokenizer.encode(cases.texts[i]) == cases.ids[i]);
        CHECK(tokenizer.decode_whole(cases.ids[i]) == cases.texts[i]);
    }
}

/// The merges that Hugging Face's converters make of a SentencePiece vocabulary: all ways to make a piece of two, in the order of
/// its score.
std::vector<std::string> converted_merges(const Vocabulary& v) {
    std::unordered_map<std::string_view, TokenId> ids;
    for (std::size_t i = 0; i < v.size(); ++i) {
        if (v.kinds[i] == TokenKind::normal) ids.emplace(v.pieces[i], static_cast<TokenId>(i));
    }
    struct Merge {
        float score;
        TokenId left, right;
    };
    std::vector<Merge> merges;
    for (std::size_t i = 0; i < v.size(); ++i) {
        const std::string_view piece = v.pieces[i];
        for (std::size_t at = 1; v.kinds[i] == TokenKind::normal && at < piece.size(); ++at) {
            const auto left = ids.find(piece.substr(0, at)), right = ids.find(piece.substr(at));
            if (left != ids.end() && right != ids.end()) merges.push_back({v.scores[i], left->second, right->second});
        }
    }
    std::ranges::stable_sort(merges, [](const Merge& a, const Merge& b) { return a.score > b.score; });
    std::vector<std::string> lines;
    for (const Merge& m : merges)
        lines.push_back(v.pieces[static_cast<std::size_t>(m.left)] + ' ' + v.pieces[static_cast<std::size_t>(m.right)]);
    return lines;
}

}  // namespace

TEST_CASE("the Llama tokenizer gives the ids of llama.cpp") {
    const auto model = flashback_test::shared(llama);
    if (model.empty()) return;
    check_cases(load_tokenizer(model), Cases{llama}, 32000);
}

TEST_CASE("the Llama tokenizer gives them by the ranks of merges too, as Hugging Face's converters make them") {
    const auto model = flashback_test::shared(llama);
    if (model.empty()) return;
    Vocabulary v = read_vocabulary(GgufFile::open(model));
    v.merges = converted_merges(v);
    CHECK(v.merges.size() == 61249);  // as many as the tokenizer.json of Llama 2 has
    v.scores.clear();
    check_cases(Tokenizer{v}, Cases{llama}, 32000);
}

TEST_CASE("the GPT-2 tokenizer gives the ids of llama.cpp") {
    const auto model = flashback_test::shared(gpt2);
    if (model.empty()) return;
    check_cases(load_tokenizer(model), Cases{gpt2}, 50257);
}

TEST_CASE("vocab.json and merges.txt of GPT-2 give the ids of llama.cpp") {
    const auto folder = flashback_test::shared("data/tokenizers/gpt2");
    if (folder.empty()) return;
    const Tokenizer tokenizer{read_tokenizer_files(folder)};
    check_cases(tokenizer, Cases{gpt2}, 50257);
    CHECK(tokenizer.head().empty());
    CHECK(tokenizer.vocabulary().eos == 50256);
}

TEST_CASE("vocab.json and merges.txt of OPT give the pieces of GPT-2, which has other ids") {
    const auto folder = flashback_test::shared("data/tokenizers/opt");
    if (folder.empty()) return;
    const Tokenizer other = load_tokenizer(flashback_test::shared(gpt2));
    const Tokenizer tokenizer{read_tokenizer_files(folder)};
    CHECK(tokenizer.size() == 50265);
    Cases cases{gpt2};
    for (auto& ids : cases.ids) {
        for (TokenId& id : ids) id = tokenizer.id(other.piece(id));
    }
    check_cases(tokenizer, cases, 50265);
}

TEST_CASE("the tokenizer.json of TinyStories-656K gives the ids of llama.cpp") {
    const auto folder = flashback_test::shared("models/TinyStories-656K");
    if (folder.empty()) return;
    const Tokenizer tokenizer{read_tokenizer_files(folder)};
    CHECK(tokenizer.vocabulary().merges.size() == 1967);
    const auto facts = nlohmann::json::parse(contents(flashback_test::shared("reference/TinyStories-656K_expected.json")));
    REQUIRE(facts.at("cases").size() >= 2);
    for (const auto& one : facts.at("cases")) {
        std::vector<TokenId> tokens{tokenizer.head().begin(), tokenizer.head().end()};
        append(tokens, tokenizer.encode(one.at("text").get<std::string>()));
        CHECK(tokens == one.at("tokens").get<std::vector<TokenId>>());
        CHECK(tokenizer.decode(one.at("greedy").get<std::vector<TokenId>>()) == one.at("greedy_text").get<std::string>());
    }
}

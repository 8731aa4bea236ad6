#include "flashback/text/detail/pre_tokenizer.hpp"

#include "support/errors.hpp"
#include "support/sanitizer.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace flashback;
using namespace std::string_view_literals;
using detail::PreTokenizer;
using flashback_test::check_error;

namespace {

using Words = std::vector<std::string>;

constexpr PreTokenizer all[] = {PreTokenizer::gpt2, PreTokenizer::llama_bpe, PreTokenizer::qwen2};

template <class OnWord>
void split(PreTokenizer kind, std::string_view text, const OnWord& on_word) {
    detail::for_each_bpe_word(kind, text, on_word);
}

Words words(PreTokenizer kind, std::string_view text) {
    Words out;
    split(kind, text, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

nlohmann::json golden() {
    std::ifstream in{FLASHBACK_TEST_DATA "/pre_tokenizer_splits.json"};
    REQUIRE(in.good());
    return nlohmann::json::parse(in);
}

/// FNV-1a of the lengths of the words of all texts of up to 6 characters.
std::uint64_t digest(PreTokenizer kind, std::string_view alphabet) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (std::size_t count = 1; count <= 6; ++count) {
        std::vector<std::size_t> at(count);
        std::string text(count, alphabet[0]);
        for (std::size_t carry = 0; carry < count;) {
            split(kind, text, [&](std::string_view word) { hash = (hash ^ word.size()) * 0x100000001b3; });
            for (carry = 0; carry < count; ++carry) {
                std::size_t& digit = at[count - 1 - carry];
                digit = (digit + 1) % alphabet.size();
                text[count - 1 - carry] = alphabet[digit];
                if (digit != 0) break;
            }
        }
    }
    return hash;
}

}  // namespace

TEST_CASE("random texts are split as the regular expressions split them") {
    const nlohmann::json file = golden();
    REQUIRE(file.at("cases").size() > 400);
    for (const nlohmann::json& one : file.at("cases")) {
        const std::string text = one.at("text");
        CAPTURE(text);
        for (const char* name : {"gpt-2", "llama-bpe", "qwen2"}) {
            CAPTURE(name);
            std::vector<std::size_t> lengths;
            split(detail::pre_tokenizer_of(name), text, [&](std::string_view word) { lengths.push_back(word.size()); });
            CHECK(lengths == one.at(name).get<std::vector<std::size_t>>());
        }
    }
}

TEST_CASE("all short texts are split as the regular expressions split them") {
    const nlohmann::json file = golden();
    const std::string alphabet = file.at("alphabet");
    for (const char* name : {"gpt-2", "llama-bpe", "qwen2"}) {
        CAPTURE(name);
        char found[17];
        std::snprintf(found, sizeof found, "%016llx",
                      static_cast<unsigned long long>(digest(detail::pre_tokenizer_of(name), alphabet)));
        CHECK(file.at("digests").at(name).get<std::string>() == found);
    }
}

TEST_CASE("the three splits differ where they should") {
    CHECK(words(PreTokenizer::gpt2, "It's 12345\n\n  x") == Words{"It", "'s", " 12345", "\n\n ", " x"});
    CHECK(words(PreTokenizer::llama_bpe, "It's 12345\n\n  x") == Words{"It", "'s", " ", "123", "45", "\n\n", " ", " x"});
    CHECK(words(PreTokenizer::qwen2, "It's 12345\n\n  x") ==
          Words{"It", "'s", " ", "1", "2", "3", "4", "5", "\n\n", " ", " x"});
    CHECK(words(PreTokenizer::gpt2, "I'LL(x)!\r\n") == Words{"I", "'", "LL", "(", "x", ")!", "\r\n"});
    CHECK(words(PreTokenizer::llama_bpe, "I'LL(x)!\r\n") == Words{"I", "'LL", "(x", ")!\r\n"});
}

TEST_CASE("the long s is an s only where case does not count") {
    CHECK(words(PreTokenizer::gpt2, "'\u017fa") == Words{"'", "\u017fa"});
    CHECK(words(PreTokenizer::llama_bpe, "'\u017fa") == Words{"'\u017f", "a"});
}

TEST_CASE("bytes that are no UTF-8 are characters of no class, one by one") {
    CHECK(words(PreTokenizer::gpt2, "a\xff 1\xe2\x82 b") == Words{"a", "\xff", " 1", "\xe2\x82", " b"});
    CHECK(words(PreTokenizer::llama_bpe,
                "\xe2\x82"
                "b") == Words{"\xe2\x82", "b"});
    CHECK(words(PreTokenizer::llama_bpe,
                "\xff"
                "b") == Words{"\xff"
                              "b"});
    CHECK(words(PreTokenizer::qwen2, "\xf0\x9f\x98") == Words{"\xf0\x9f\x98"});
}

TEST_CASE("the words of random bytes together are the text, and none is empty") {
    std::mt19937 random{7};
    for (int round = 0; round < 5000; ++round) {
        std::string text(random() % 60, '\0');
        for (char& c : text) c = random() % 3 ? static_cast<char>(random()) : " \n'sE1."[random() % 7];
        for (const PreTokenizer kind : all) {
            std::string together;
            bool some_empty = false;
            split(kind, text, [&](std::string_view word) {
                together += word;
                some_empty = some_empty || word.empty();
            });
            REQUIRE(together == text);
            REQUIRE_FALSE(some_empty);
        }
    }
}

// A split that looked at a run again for each of its words would need hours.
TEST_CASE("long runs of one kind are split in linear time") {
    constexpr std::size_t n = flashback_test::sanitized ? 1 << 17 : 1 << 20;
    for (const std::string_view unit :
         {" ", "\n", " \n", "\t", "a", "1", "!", "'", "'s", "' ", "\u3000", "\xff", "\xe2\x82", " a"}) {
        std::string text;
        while (text.size() < n) text += unit;
        for (const PreTokenizer kind : all) {
            for (const std::string_view behind : {"", "a", "1", "!"}) {
                std::size_t bytes = 0;
                split(kind, text + std::string{behind}, [&](std::string_view word) { bytes += word.size(); });
                CHECK(bytes == text.size() + behind.size());
            }
        }
    }
}

TEST_CASE("pre-tokenizers have the names of GGUF, others are refused by name") {
    CHECK(detail::pre_tokenizer_of("gpt-2") == PreTokenizer::gpt2);
    for (const char* name : {"llama-bpe", "llama3", "llama-v3"}) {
        CHECK(detail::pre_tokenizer_of(name) == PreTokenizer::llama_bpe);
    }
    CHECK(detail::pre_tokenizer_of("qwen2") == PreTokenizer::qwen2);
    for (const std::string name : {"default", "gpt2", "GPT-2", "tekken", "deepseek-llm", "falcon", "qwen", "llama-bpe "}) {
        check_error(ErrorCode::unsupported,
                    "asks for the pre-tokenizer '" + name + "', expected 'gpt-2', 'llama-bpe' or 'qwen2'",
                    [&] { detail::pre_tokenizer_of(name); });
    }
    check_error(ErrorCode::unsupported, "names no pre-tokenizer, expected 'gpt-2'", [] { detail::pre_tokenizer_of(""); });
    check_error(ErrorCode::unsupported, "'?[2J'", [] { detail::pre_tokenizer_of("\x1b[2J"); });
}

#include "flashback/files/load.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_byte_level_bpe {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

using Tokens = std::vector<TokenId>;

/// "a", "b", " ", "ab", " ab", a control and a user-defined token.
GgufBytes vocabulary_file(const char* pre = "gpt-2") {
    GgufBytes w;
    w.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", pre);
    w.set_array<std::string>("tokenizer.ggml.tokens", {"a", "b", "\u0120", "ab", "\u0120ab", "<|end|>", "  "});
    w.set_array<std::int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 3, 4});
    w.set_array<std::string>("tokenizer.ggml.merges", {"a b", "\u0120 ab", "a unreachable"});
    w.set<std::uint32_t>("tokenizer.ggml.bos_token_id", 5).set<std::uint32_t>("tokenizer.ggml.eos_token_id", 5);
    return w;
}

Tokenizer load(const GgufBytes& writer) {
    const std::string bytes = writer.bytes();
    return load_tokenizer(view(bytes));
}

template <class Change>
void refuses(ErrorCode code, std::string_view part, const Change& change) {
    GgufBytes writer = vocabulary_file();
    change(writer);
    check_error(code, part, [&] { load(writer); });
}

}  // namespace

TEST_CASE("a vocabulary of byte-level BPE is read with all that it says") {
    const std::string bytes = vocabulary_file().bytes();
    const Vocabulary v = read_vocabulary(view(bytes));
    CHECK(v.model == "gpt2");
    CHECK(v.pre == "gpt-2");
    CHECK(v.merges == std::vector<std::string>{"a b", "\u0120 ab", "a unreachable"});
    CHECK(v.size() == 7);
    CHECK(v.kinds[6] == TokenKind::user_defined);
    CHECK(v.bos == 5);
    CHECK(v.eos == 5);
    CHECK_FALSE(v.unknown);
    CHECK_FALSE(v.add_bos);
    CHECK_FALSE(v.add_space_prefix);

    const Tokenizer t = load_tokenizer(view(bytes));
    CHECK(t.head().empty());
    CHECK(t.encode("ab ab  b") == Tokens{3, 4, 6, 1});
    CHECK(t.decode_whole(Tokens{3, 4, 5, 6, 1}) == "ab ab  b");
    check_error(ErrorCode::vocabulary, "no token for the byte 60", [&] { t.encode("<|end|>"); });
}

TEST_CASE("BOS stands in front if the file says so, and by default with llama-bpe") {
    for (const char* pre : {"gpt-2", "qwen2", "llama-bpe", "llama3", "llama-v3"}) {
        CAPTURE(pre);
        const bool llama = std::string_view{pre}.starts_with("llama");
        GgufBytes w = vocabulary_file(pre);
        CHECK(load(w).head().size() == (llama ? 1 : 0));
        w.set("tokenizer.ggml.add_bos_token", true);
        CHECK(load(w).head().size() == 1);
        w.set("tokenizer.ggml.add_bos_token", false);
        CHECK(load(w).head().empty());
        w.erase("tokenizer.ggml.add_bos_token").erase("tokenizer.ggml.bos_token_id");
        CHECK(load(w).head().empty());
        w.set("tokenizer.ggml.add_bos_token", true);
        check_error(ErrorCode::vocabulary, "wants BOS in front of every text, but names no BOS token", [&] { load(w); });
    }
}

TEST_CASE("a vocabulary of byte-level BPE without merges is refused, one with none is not") {
    refuses(ErrorCode::vocabulary, "byte-level BPE without merges (the key tokenizer.ggml.merges)",
            [](GgufBytes& w) { w.erase("tokenizer.ggml.merges"); });
    GgufBytes w = vocabulary_file();
    w.set_array<std::string>("tokenizer.ggml.merges", {});
    CHECK(load(w).encode("ab") == Tokens{0, 1});
}

TEST_CASE("other pre-tokenizers and none are refused by name") {
    for (const char* pre : {"default", "tekken", "deepseek-coder", "qwen35", "gpt-4o", "smaug-bpe"}) {
        refuses(
            ErrorCode::unsupported,
            std::string{"the vocabulary asks for the pre-tokenizer '"} + pre + "', expected 'gpt-2', 'llama-bpe' or 'qwen2'",
            [pre](GgufBytes& w) { w.set("tokenizer.ggml.pre", pre); });
    }
    refuses(ErrorCode::unsupported, "the vocabulary names no pre-tokenizer, expected 'gpt-2', 'llama-bpe' or 'qwen2'",
            [](GgufBytes& w) { w.erase("tokenizer.ggml.pre"); });
}

TEST_CASE("a malformed vocabulary of byte-level BPE is refused by name") {
    refuses(ErrorCode::vocabulary, "merge 1 is 'a b c', expected two pieces with one space between", [](GgufBytes& w) {
        w.set_array<std::string>("tokenizer.ggml.merges", {"a b", "a b c"});
    });
    refuses(ErrorCode::vocabulary, "merge 0 is 'ab', expected two pieces",
            [](GgufBytes& w) { w.set_array<std::string>("tokenizer.ggml.merges", {"ab"}); });
    refuses(ErrorCode::vocabulary, "the normal token 6 '  ' has a character that stands for no byte",
            [](GgufBytes& w) { w.erase("tokenizer.ggml.token_type"); });
    refuses(ErrorCode::vocabulary, "the normal tokens 0 and 1 have the same text 'a'", [](GgufBytes& w) {
        w.set_array<std::string>("tokenizer.ggml.tokens", {"a", "a", "\u0120", "ab", "\u0120ab", "<|end|>", "  "});
    });
    refuses(ErrorCode::vocabulary, "token 5 is a byte token", [](GgufBytes& w) {
        w.set_array<std::int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 6, 4});
    });
    refuses(ErrorCode::unsupported, "wants a space in front of texts",
            [](GgufBytes& w) { w.set("tokenizer.ggml.add_space_prefix", true); });
    for (const char* key : {"tokenizer.ggml.pre", "tokenizer.ggml.merges"}) {
        refuses(ErrorCode::format, std::string{"the value of "} + key + " is the floating-point number 1.500000, expected",
                [key](GgufBytes& w) { w.set(key, 1.5f); });
    }
    refuses(ErrorCode::format, "the value of tokenizer.ggml.merges is", [](GgufBytes& w) {
        w.set_array<std::int32_t>("tokenizer.ggml.merges", {1, 2});
    });
}

TEST_CASE("a small vocabulary with a changed byte loads or gives an Error") {
    const std::string good = vocabulary_file().bytes();
    std::size_t loaded = 0, refused = 0;
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (const int change : {1, 32, 128, 255}) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] ^ change);
            try {
                const Tokenizer t = load_tokenizer(view(bad));
                ++loaded;
                t.decode(t.encode("ab ab"));
            } catch (const Error&) {
                ++refused;
            }
        }
    }
    CHECK(loaded > 100);
    CHECK(refused > 100);
}

}  // namespace test_files_byte_level_bpe

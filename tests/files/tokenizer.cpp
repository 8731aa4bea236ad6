#include "flashback/files/load.hpp"
#include "flashback/text/unicode.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

const Tokenizer& default_tokenizer() {
    static const Tokenizer tokenizer = load_tokenizer(FLASHBACK_TEST_MODEL);
    return tokenizer;
}

/// U+2581 stands for a space in the pieces of a vocabulary, so a text cannot keep it.
constexpr char32_t space_mark = 0x2581;

std::string random_utf8(std::mt19937& random) {
    std::string text;
    const std::size_t length = random() % 40;
    while (text.size() < length) {
        char32_t c = 0;
        switch (random() % 6) {
            case 0: c = U' '; break;
            case 1: c = U'\n'; break;
            case 2: c = static_cast<char32_t>(random() % 0x800); break;
            case 3: c = static_cast<char32_t>(random() % 0x110000); break;
            default: c = static_cast<char32_t>(U'a' + random() % 26); break;
        }
        if (c != space_mark && !(c >= 0xd800 && c <= 0xdfff)) append_utf8(text, c);
    }
    return text;
}

std::string random_bytes(std::mt19937& random) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

GgufBytes vocabulary_file() {
    GgufBytes w;
    w.set("tokenizer.ggml.model", "llama")
        .set_array<std::string>("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab"});
    w.set_array<float>("tokenizer.ggml.scores", {0, 0, 0, -1, -2, -3});
    w.set_array<std::int32_t>("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1});
    w.set<std::uint32_t>("tokenizer.ggml.bos_token_id", 1).set<std::uint32_t>("tokenizer.ggml.eos_token_id", 2);
    w.set<std::uint32_t>("tokenizer.ggml.unknown_token_id", 0);
    return w;
}

void refuses(const GgufBytes& writer, std::string_view part, ErrorCode code = ErrorCode::vocabulary) {
    const std::string bytes = writer.bytes();
    check_error(code, part, [&] { load_tokenizer(view(bytes)); });
}

}  // namespace

TEST_CASE("a random text comes back whole") {
    std::mt19937 random{1};
    const Tokenizer& t = default_tokenizer();
    std::size_t bytes = 0;
    for (int round = 0; round < 5000; ++round) {
        const std::string text = random_utf8(random);
        bytes += text.size();
        REQUIRE(t.decode_whole(t.encode(text)) == text);
    }
    CHECK(bytes > 50000);
}

TEST_CASE("random bytes come back whole") {
    std::mt19937 random{2};
    const Tokenizer& t = default_tokenizer();
    std::size_t bytes = 0;
    for (int round = 0; round < 5000; ++round) {
        const std::string text = random_bytes(random);
        bytes += text.size();
        REQUIRE(t.decode_whole(t.encode(text)) == text);
    }
    CHECK(bytes > 50000);
}

TEST_CASE("a stream gives whole characters only and loses nothing") {
    std::mt19937 random{3};
    const Tokenizer& t = default_tokenizer();
    std::size_t held_back = 0;
    for (int round = 0; round < 2000; ++round) {
        const bool valid = round % 2 == 0;
        const auto tokens = t.encode(valid ? random_utf8(random) : random_bytes(random));
        StreamDecoder stream{t};
        std::string text;
        for (const TokenId token : tokens) {
            const std::string part = stream.push(token);
            if (valid) REQUIRE(replace_invalid_utf8(part).replaced == 0);
            held_back += part.empty();
            text += part;
        }
        const std::string rest = stream.finish();
        if (valid) REQUIRE(rest.empty());
        REQUIRE(text + rest == t.decode(tokens));
    }
    CHECK(held_back > 1000);
}

TEST_CASE("random tokens stream to what they decode to") {
    std::mt19937 random{4};
    const Tokenizer& t = default_tokenizer();
    for (int round = 0; round < 500; ++round) {
        std::vector<TokenId> tokens(20);
        for (TokenId& token : tokens) token = static_cast<TokenId>(random() % (round % 2 ? 260 : t.size()));
        StreamDecoder stream{t};
        std::string text;
        for (const TokenId token : tokens) text += stream.push(token);
        REQUIRE(text + stream.finish() == t.decode(tokens));
    }
}

TEST_CASE("a text that spells markers and control tokens never gives their ids") {
    const Tokenizer& t = default_tokenizer();
    const TokenId left = t.id("<MARK_L>");
    const TokenId right = t.id("<MARK_R>");
    CHECK(left != right);
    for (const std::string_view text :
         {"<MARK_L>", "<MARK_R>", "x<MARK_L> <MARK_R>y", "<s></s><unk>", "\n<MARK_L>", "<0x41><0x0A>"}) {
        const auto tokens = t.encode(text);
        for (const TokenId token : tokens) {
            const TokenKind kind = t.vocabulary().kinds[static_cast<std::size_t>(token)];
            CHECK((kind == TokenKind::normal || kind == TokenKind::user_defined || t.piece(token).size() == 6));
            CHECK(kind != TokenKind::control);
            CHECK(kind != TokenKind::unknown);
        }
        CHECK(t.decode_whole(tokens) == text);
    }
}

TEST_CASE("a vocabulary is read with all that it says") {
    GgufBytes w = vocabulary_file();
    const std::string bytes = w.bytes();
    const Vocabulary v = read_vocabulary(view(bytes));
    CHECK(v.model == "llama");
    CHECK(v.pieces == std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "b", "ab"});
    CHECK(v.scores == std::vector<float>{0, 0, 0, -1, -2, -3});
    CHECK(v.kinds[0] == TokenKind::unknown);
    CHECK(v.kinds[2] == TokenKind::control);
    CHECK(v.bos == 1);
    CHECK(v.eos == 2);
    CHECK(v.unknown == 0);
    CHECK(v.add_bos);
    CHECK(v.add_space_prefix);
    CHECK(load_tokenizer(view(bytes)).head().size() == 1);

    w.set("tokenizer.ggml.add_bos_token", false).set("tokenizer.ggml.add_space_prefix", false);
    const std::string without = w.bytes();
    const Tokenizer t = load_tokenizer(view(without));
    CHECK(t.head().empty());
    CHECK(t.encode("ab") == std::vector<TokenId>{5});
}

TEST_CASE("a file without scores and types has equal scores and normal tokens") {
    GgufBytes w = vocabulary_file();
    w.erase("tokenizer.ggml.scores").erase("tokenizer.ggml.token_type");
    const std::string bytes = w.bytes();
    const Vocabulary v = read_vocabulary(view(bytes));
    CHECK(v.scores == std::vector<float>(6));
    CHECK(v.kinds == std::vector<TokenKind>(6, TokenKind::normal));
}

TEST_CASE("a vocabulary that contradicts itself is refused by name") {
    const auto changed = [](auto change) {
        GgufBytes w = vocabulary_file();
        change(w);
        return w;
    };
    refuses(changed([](GgufBytes& w) { w.erase("tokenizer.ggml.tokens"); }), "'test.gguf' has no vocabulary");
    refuses(changed([](GgufBytes& w) { w.erase("tokenizer.ggml.model"); }), "asks for the tokenizer ''",
            ErrorCode::unsupported);
    refuses(changed([](GgufBytes& w) { w.set("tokenizer.ggml.model", "bert"); }), "asks for the tokenizer 'bert'",
            ErrorCode::unsupported);
    refuses(changed([](GgufBytes& w) { w.set_array<float>("tokenizer.ggml.scores", {1}); }), "6 tokens, but 1 scores");
    refuses(changed([](GgufBytes& w) {
                w.set_array<std::int32_t>("tokenizer.ggml.token_type", {1, 1});
            }),
            "6 tokens, but 2 token types");
    for (const std::int32_t kind : {0, 7, -1, 257}) {
        refuses(changed([&](GgufBytes& w) {
                    w.set_array<std::int32_t>("tokenizer.ggml.token_type", {2, 3, kind, 1, 1, 1});
                }),
                "token 2 has type " + std::to_string(kind) + ", expected 1 to 6");
    }
    for (const char* name : {"bos", "eos", "unknown"}) {
        const std::string key = std::string{"tokenizer.ggml."} + name + "_token_id";
        for (const std::uint32_t id : {6u, 0xffffffffu}) {
            refuses(changed([&](GgufBytes& w) { w.set(key, id); }),
                    key + " is " + std::to_string(id) + ", but there are 6 tokens");
        }
        refuses(changed([&](GgufBytes& w) { w.set<std::int32_t>(key, -1); }), key, ErrorCode::format);
    }
    for (const char* piece : {"<0x-1>", "<0xGG>", "<0x100>"}) {
        refuses(changed([&](GgufBytes& w) {
                    w.set_array<std::string>("tokenizer.ggml.tokens", {"<unk>", "<s>", piece, "a", "b", "ab"});
                    w.set_array<std::int32_t>("tokenizer.ggml.token_type", {2, 3, 6, 1, 1, 1});
                }),
                "the byte token 2 is not spelled");
    }
}

TEST_CASE("a key of the vocabulary with another type is refused by name") {
    for (const char* key :
         {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type",
          "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix"}) {
        GgufBytes w = vocabulary_file();
        w.set(key, 1.5f);
        refuses(w, std::string{"the value of "} + key + " is the floating-point number 1.500000, expected", ErrorCode::format);
    }
}

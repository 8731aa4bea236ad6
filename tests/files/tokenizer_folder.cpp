#include "flashback/format/tokenizer_files.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "flashback/text/tokenizer.hpp"
#include "support/errors.hpp"
#include "support/temporary_folder.hpp"
#include "support/tokenizer_json.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_tokenizer_folder {

using namespace flashback;
using flashback_test::byte_tokenizer;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;
using TokenizerFile = flashback_test::Json;

namespace {

/// vocab.json and merges.txt: all bytes (id = byte), "</s>" 256, "<pad>" 257, "ab" 258, " ab" 259.
void write_pair(const TemporaryFolder& folder) {
    TokenizerFile vocab = byte_tokenizer({}, TokenizerFile::array())["model"]["vocab"];
    vocab.erase("<|endoftext|>");
    for (const char* piece : {"</s>", "<pad>", "ab", "\u0120ab"}) vocab[piece] = vocab.size();
    folder.write("vocab.json", vocab.dump());
    folder.write("merges.txt", "#version: 0.2\na b\r\n\u0120 ab\n");
}

void refused(ErrorCode code, std::string_view part, const TemporaryFolder& folder) {
    check_error(code, part, [&] { Tokenizer{read_tokenizer_files(folder.path())}; });
}

}  // namespace

TEST_CASE("vocab.json and merges.txt are the tokenizer of GPT-2") {
    const TemporaryFolder folder;
    CHECK_FALSE(has_tokenizer_files(folder.path()));
    refused(ErrorCode::vocabulary, "has no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt", folder);
    folder.write("tokenizer.model", "x");
    refused(ErrorCode::vocabulary, "(tokenizer.model is not read)", folder);
    write_pair(folder);
    CHECK(has_tokenizer_files(folder.path()));
    const Tokenizer t{read_tokenizer_files(folder.path())};
    CHECK(t.size() == 260);
    CHECK(t.encode("ab ab") == std::vector<TokenId>{258, 259});
    CHECK(t.head().empty());
    CHECK(t.passage_head().empty());
    CHECK(t.vocabulary().kinds[256] == TokenKind::control);
    CHECK(t.encode("</s>").size() == 4);
}

TEST_CASE("with OPT </s> stands in front of texts, and of retrieved documents unless that is turned off") {
    const TemporaryFolder folder;
    write_pair(folder);
    folder.write("config.json", R"({"model_type": "opt", "bos_token_id": 256, "eos_token_id": 256})");
    const Tokenizer t{read_tokenizer_files(folder.path())};
    REQUIRE(t.head().size() == 1);
    CHECK(t.head()[0] == 256);
    REQUIRE(t.passage_head().size() == 1);
    CHECK(t.passage_head()[0] == 256);
    CHECK(t.vocabulary().eos == 256);

    const std::vector<Document> documents{{"d", "", "ab ab ab ab"}};
    Codec codec = codec_of(t);
    const Bm25Index with{documents, codec, {.passage_tokens = 3}};
    REQUIRE(with.size() == 2);
    const Passage first = with[0];
    CHECK(std::vector<TokenId>{first.tokens.begin(), first.tokens.end()} == std::vector<TokenId>{256, 258, 259});
    CHECK(first.text == "ab ab");
    check_error(ErrorCode::contract, "a passage needs at least 2 token", [&] {
        Bm25Index{documents, codec, {.passage_tokens = 1}};
    });
    codec.head.clear();
    const Bm25Index without{documents, codec, {.passage_tokens = 3}};
    const Passage bare = without[0];
    CHECK(std::vector<TokenId>{bare.tokens.begin(), bare.tokens.end()} == std::vector<TokenId>{258, 259, 259});

    folder.write("tokenizer_config.json", R"({"add_bos_token": false})");
    const Tokenizer off{read_tokenizer_files(folder.path())};
    CHECK(off.head().empty());
    CHECK(off.passage_head().empty());
}

TEST_CASE("the files beside the tokens name special and added tokens") {
    const TemporaryFolder folder;
    write_pair(folder);
    folder.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": {"content": "</s>"}, "pad_token": "<pad>",
        "added_tokens_decoder": {"260": {"content": "<MARK>", "special": true}}})");
    folder.write("special_tokens_map.json",
                 R"({"eos_token": "ab", "additional_special_tokens": ["<MARK>", {"content": "<pad>"}]})");
    folder.write("added_tokens.json", R"({"<tool>": 261, "<MARK>": 260})");
    const Tokenizer t{read_tokenizer_files(folder.path())};
    const Vocabulary& v = t.vocabulary();
    CHECK(v.size() == 262);
    CHECK(v.bos == 256);
    CHECK(v.eos == 258);
    CHECK(v.add_bos);
    CHECK_FALSE(v.bos_in_passages);
    for (const std::size_t id : {256u, 257u, 258u, 260u}) CHECK(v.kinds[id] == TokenKind::control);
    CHECK(v.kinds[261] == TokenKind::user_defined);
    CHECK(t.encode("a<tool>b") == std::vector<TokenId>{'a', 261, 'b'});

    folder.write("added_tokens.json", R"({"<tool>": 300})");
    refused(ErrorCode::vocabulary, "gives the token '<tool>' the id 300, but there are only 262 tokens", folder);
    folder.write("added_tokens.json", R"({"<pad>": 261})");
    refused(ErrorCode::vocabulary, "gives the token '<pad>' the id 261, but it has the id 257", folder);
    folder.write("added_tokens.json", R"({"<tool>": "261"})");
    refused(ErrorCode::format, "has \"261\" for <tool>, expected a whole number", folder);
}

TEST_CASE("tokenizer.json goes first, and what stands beside it must agree") {
    const TemporaryFolder folder;
    write_pair(folder);
    folder.write("tokenizer.json", byte_tokenizer({"ab"}, {"a b"}).dump());
    CHECK(read_tokenizer_files(folder.path()).size() == 258);
    folder.write("config.json", R"({"model_type": "llama", "bos_token_id": 256, "eos_token_id": [256, 12]})");
    folder.write("tokenizer_config.json", R"({"add_bos_token": true, "add_prefix_space": false})");
    const Vocabulary v = read_tokenizer_files(folder.path());
    CHECK(v.add_bos);
    CHECK(v.bos == 256);
    CHECK(v.eos == 256);

    folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {"258": {"content": "<more>"}}})");
    refused(ErrorCode::vocabulary, "does not have the token '<more>' with the id 258, as the files beside it say", folder);
    folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {"-1": {"content": "<more>"}}})");
    refused(ErrorCode::format, "has the id '-1', expected a whole number", folder);
    folder.write("tokenizer_config.json", R"({"add_eos_token": true})");
    refused(ErrorCode::unsupported, "has add_eos_token, expected a tokenizer without it", folder);
    folder.write("tokenizer_config.json", R"({"add_prefix_space": true})");
    refused(ErrorCode::unsupported, "puts no space in front of texts, but tokenizer_config.json has the opposite", folder);
    folder.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<nothing>"})");
    folder.write("config.json", "{}");
    refused(ErrorCode::vocabulary, "wants BOS in front of every text, but no file beside it names a BOS token", folder);
    folder.write("tokenizer_config.json", R"({"bos_token": 5})");
    refused(ErrorCode::format, "has 5 for bos_token, expected an object", folder);
}

}  // namespace test_files_tokenizer_folder

#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "support/errors.hpp"
#include "support/folder_writer.hpp"
#include "support/temporary_folder.hpp"
#include "support/tokenizer_json.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_convert {

using namespace flashback;
using flashback_test::byte_tokenizer;
using flashback_test::character_tokenizer;
using flashback_test::check_error;
using flashback_test::FolderWriter;
using flashback_test::random_weights;
using flashback_test::small_shape;
using flashback_test::space_mark;
using flashback_test::TemporaryFolder;

TEST_CASE("a folder that becomes a GGUF file and is loaded again has the same bits in f32") {
    for (const Family family : {Family::llama, Family::mistral, Family::qwen2, Family::gpt2}) {
        for (const bool tied : {true, false}) {
            CAPTURE(int(family));
            CAPTURE(tied);
            const Transformer model = random_weights(small_shape(family), tied);
            const TemporaryFolder folder;
            FolderWriter{model}.write(folder.path() / "in");
            const auto from_folder = load_model(folder.path() / "in");
            const auto out = folder.path() / "out.gguf";
            write_model(out, *from_folder, nullptr, DType::f32);
            const auto from_file = load_model(out);
            CHECK(fingerprint(*from_file) == model.fingerprint);
            CHECK(from_file->rotary_frequencies == model.rotary_frequencies);
            CHECK_FALSE(ModelSource::open(out).has_tokenizer());
        }
    }
    const Transformer opt = random_weights(small_shape(Family::opt), true);
    const TemporaryFolder folder;
    check_error(ErrorCode::unsupported, "the format has no architecture for OPT",
                [&] { write_model(folder.path() / "out.gguf", opt, nullptr, DType::f32); });
}

TEST_CASE("rotary scaling and what ends texts come through") {
    TransformerConfig c = small_shape(Family::llama);
    c.rotary_linear = 2;
    Transformer model = random_weights(c, true);
    model.text_ends = {3, 4};
    const TemporaryFolder folder;
    const auto out = folder.path() / "out.gguf";
    const Vocabulary v =
        parse_tokenizer_json(character_tokenizer({"a", "b", space_mark, "ab"}, {"a b"}).dump(), "tokenizer.json");
    write_model(out, model, &v, DType::f32);
    const auto again = load_model(out);
    CHECK(again->rotary_frequencies == model.rotary_frequencies);
    CHECK(again->text_ends == std::vector<TokenId>{3});
    CHECK(again->text_head == std::vector<TokenId>{1});
}

TEST_CASE("a vocabulary that was written is the same when it is read, unused tokens aside") {
    const Transformer model = random_weights(small_shape(Family::llama), true);
    const TemporaryFolder folder;
    const auto out = folder.path() / "out.gguf";
    const auto written = [&](const std::string& json) {
        const Vocabulary v = parse_tokenizer_json(json, "tokenizer.json");
        write_model(out, model, &v, DType::f32);
        return v;
    };
    // Ranks, not scores: "a ab" is no merge, although a piece spells it.
    const Vocabulary v = written(character_tokenizer({"a", "b", space_mark, "ab", "aab", "ba"}, {"a b", "b a", "aa b"}).dump());
    const Tokenizer before{v}, after = load_tokenizer(out);
    CHECK(after.size() == 37);  // as many as the embedding has rows
    CHECK(after.vocabulary().kinds[36] == TokenKind::unused);
    CHECK(after.vocabulary().scores.empty());
    CHECK(after.vocabulary().merges == v.merges);
    CHECK(after.vocabulary().add_space_prefix);
    CHECK(after.vocabulary().fuse_unknown);
    CHECK(after.vocabulary().bos == v.bos);
    for (const char* text : {"aab", "aabba ab", "ab\u00e9\u00eaba", "", " a  b"}) {
        CHECK(after.encode(text) == before.encode(text));
        CHECK(after.decode_whole(after.encode(text)) == before.decode_whole(before.encode(text)));
    }
    // For programs that merge by scores these are in the order of the ranks.
    const auto scores = *GgufFile::open(out).numbers<float>("tokenizer.ggml.scores");
    CHECK(scores[5] == -1);   // "ab"
    CHECK(scores[7] == -2);   // "ba"
    CHECK(scores[2] < -100);  // "a", which no merge makes

    TransformerConfig wide = small_shape(Family::gpt2);
    wide.vocab = 300;
    const Transformer gpt2 = random_weights(wide, true);
    auto json = byte_tokenizer({"ab", "aba"}, {"a b"});
    json["model"]["ignore_merges"] = true;
    const Vocabulary b = parse_tokenizer_json(json.dump(), "tokenizer.json");
    write_model(out, gpt2, &b, DType::f32);
    const Tokenizer bytes = load_tokenizer(out);
    CHECK(bytes.size() == 300);
    CHECK(bytes.vocabulary().whole_words == true);
    CHECK(bytes.encode("aba abab") == Tokenizer{b}.encode("aba abab"));
    check_error(ErrorCode::vocabulary, "a vocabulary of 259 tokens cannot be written with an embedding of 37 rows",
                [&] { write_model(out, model, &b, DType::f32); });
}

}  // namespace test_files_convert

// Encoders from files: both formats, the names that files have, and files that lie.
#include "flashback/files/load_encoder.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/files/write_model.hpp"
#include "support/errors.hpp"
#include "support/random_encoder.hpp"
#include "support/temporary_folder.hpp"

#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace test_files_encoder {

using namespace flashback;
using namespace flashback_test;

namespace {

std::vector<float> vectors_of(const Encoder& encoder) {
    TextEncoder e{encoder};
    constexpr std::string_view texts[]{"hello unaffable, world.", "Caf\u00e9 \u4e2d\u6587 the QUERY", "", "zz \u0416 a"};
    std::vector<float> out(std::size(texts) * e.dimension());
    e.embed(texts, out);
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Encoder from_gguf(const GgufBytes& file) {
    const std::string bytes = file.bytes();
    return load_encoder(view(bytes));
}

void refuse_gguf(ErrorCode code, std::string_view sentence, const std::function<void(GgufBytes&)>& change) {
    RandomEncoder random;
    GgufBytes file = random.fill().gguf();
    change(file);
    check_error(code, sentence, [&] { from_gguf(file); });
}

/// Writes a folder, changes it, and checks how it is refused.
void refuse_folder(ErrorCode code, std::string_view sentence, const std::function<void(const TemporaryFolder&)>& change,
                   const std::function<void(RandomEncoder&)>& before = {}) {
    RandomEncoder random;
    random.fill();
    if (before) before(random);
    const TemporaryFolder folder;
    random.write_folder(folder.path());
    change(folder);
    check_error(code, sentence, [&] { load_encoder(folder.path()); });
}

std::string config_with(const char* field, const nlohmann::json& value) {
    nlohmann::json config = RandomEncoder{}.config();
    config[field] = value;
    return config.dump();
}

nlohmann::json tokenizer_json(const std::vector<std::string>& pieces) {
    nlohmann::json vocab = nlohmann::json::object();
    for (std::size_t i = 0; i < pieces.size(); ++i) vocab[pieces[i]] = i;
    nlohmann::json added = nlohmann::json::array();
    for (std::size_t i = 0; i < 5; ++i) added.push_back({{"id", i}, {"content", pieces[i]}, {"special", true}});
    return {{"version", "1.0"},
            {"truncation", {{"max_length", 128}}},
            {"added_tokens", added},
            {"normalizer",
             {{"type", "BertNormalizer"},
              {"clean_text", true},
              {"handle_chinese_chars", true},
              {"strip_accents", nullptr},
              {"lowercase", true}}},
            {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
            {"post_processor", {{"type", "TemplateProcessing"}}},
            {"decoder", {{"type", "WordPiece"}}},
            {"model",
             {{"type", "WordPiece"},
              {"unk_token", "[UNK]"},
              {"continuing_subword_prefix", "##"},
              {"max_input_chars_per_word", 100},
              {"vocab", vocab}}}};
}

}  // namespace

TEST_CASE("both formats give the same vectors, to the bit, whatever the prefix of the names") {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
        CAPTURE(layout_of(type).name);
        for (const bool mean : {true, false}) {
            RandomEncoder random{.type = type};
            random.fill();
            const Encoder file = from_gguf(random.gguf(mean ? 1 : 2));
            CHECK(file.pooling == (mean ? Pooling::mean : Pooling::cls));
            CHECK(file.normalise);
            const std::vector<float> expected = vectors_of(file);
            for (const char* prefix : {"", "bert.", "question_encoder.bert_model.", "ctx_encoder.bert_model."}) {
                CAPTURE(prefix);
                const TemporaryFolder folder;
                random.write_folder(folder.path(), mean ? "mean_tokens" : "cls_token", prefix);
                ThreadPool pool{2};
                const Encoder encoder = load_encoder(folder.path(), pool);
                CHECK(encoder.pooling == file.pooling);
                CHECK(encoder.model->config.family == Family::bert);
                CHECK(encoder.model->layers[0].up.type() == type);
                CHECK(same_bits(vectors_of(encoder), expected));
            }
        }
    }
}

TEST_CASE("what sentence-transformers say is heard, and DPR needs nobody to say it") {
    RandomEncoder random;
    random.fill();
    const TemporaryFolder folder;
    random.write_folder(folder.path(), "cls_token", "", false);
    Encoder encoder = load_encoder(folder.path());
    CHECK(encoder.pooling == Pooling::cls);
    CHECK_FALSE(encoder.normalise);
    CHECK(encoder.max_tokens == 0);
    folder.write("sentence_bert_config.json", R"({"max_seq_length": 64, "do_lower_case": false})");
    CHECK(load_encoder(folder.path()).max_tokens == 64);
    folder.write("sentence_bert_config.json", R"({"max_seq_length": 5000})");
    CHECK(load_encoder(folder.path()).max_tokens == 160);  // the model has no more positions

    const TemporaryFolder plain;
    random.write_folder(plain.path(), "");
    encoder = load_encoder(plain.path());
    CHECK(encoder.pooling == Pooling::mean);
    CHECK_FALSE(encoder.normalise);
    const TemporaryFolder dpr;
    random.write_folder(dpr.path(), "", "question_encoder.bert_model.");
    dpr.write("config.json", config_with("model_type", "dpr"));
    encoder = load_encoder(dpr.path());
    CHECK(encoder.pooling == Pooling::cls);
    CHECK_FALSE(encoder.normalise);
    CHECK(random.vector(std::get<WordPiece>(encoder.tokenizer).encode("hello unaffable, world."), false, false)[3] ==
          doctest::Approx(static_cast<double>(vectors_of(encoder)[3])).epsilon(1e-4));
}

TEST_CASE("heads that read what an encoder gives, and old buffers, are ignored") {
    RandomEncoder random;
    random.fill();
    const std::vector<float> expected = vectors_of(from_gguf(random.gguf()));
    for (const char* name :
         {"pooler.dense.weight", "bert.pooler.dense.bias", "embeddings.position_ids", "cls.predictions.bias"}) {
        RandomEncoder more = random;
        more.tensors.push_back({"", name, {3}, {1, 2, 3}, DType::f32});
        const TemporaryFolder folder;
        more.write_folder(folder.path());
        CHECK(same_bits(vectors_of(load_encoder(folder.path())), expected));
    }
}

TEST_CASE("tokenizer.json and vocab.txt say the same") {
    RandomEncoder random;
    random.fill();
    const TemporaryFolder folder;
    random.write_folder(folder.path());
    const std::vector<float> lower = vectors_of(load_encoder(folder.path()));
    nlohmann::json json = tokenizer_json(random.pieces);
    folder.write("tokenizer.json", json.dump());
    CHECK(same_bits(vectors_of(load_encoder(folder.path())), lower));
    json["normalizer"]["lowercase"] = false;
    folder.write("tokenizer.json", json.dump());
    const std::vector<float> cased = vectors_of(load_encoder(folder.path()));
    CHECK_FALSE(same_bits(cased, lower));
    std::filesystem::remove(folder.path() / "tokenizer.json");
    folder.write("tokenizer_config.json",
                 R"({"do_lower_case": false, "cls_token": {"content": "[CLS]"}, "sep_token": "[SEP]"})");
    CHECK(same_bits(vectors_of(load_encoder(folder.path())), cased));
    CHECK(same_bits(vectors_of(from_gguf(random.gguf().set("tokenizer.ggml.normalizer.lowercase", false))), cased));
    folder.write("tokenizer_config.json", R"({"cls_token": "hello"})");
    CHECK(std::get<WordPiece>(load_encoder(folder.path()).tokenizer).encode("").front() == 5);
    std::string lines;
    for (const std::string& piece : random.pieces) lines += piece + "\r\n";
    folder.write("vocab.txt", lines);
    folder.write("tokenizer_config.json", "{}");
    CHECK(same_bits(vectors_of(load_encoder(folder.path())), lower));
}

TEST_CASE("a vocabulary of GGUF without keys for its special tokens has their usual names") {
    RandomEncoder random;
    GgufBytes file = random.fill().gguf();
    const std::vector<float> expected = vectors_of(from_gguf(file));
    for (const char* key : {"cls_token_id", "seperator_token_id", "unknown_token_id"})
        file.erase(std::string{"tokenizer.ggml."} + key);
    CHECK(same_bits(vectors_of(from_gguf(file)), expected));
    file.set("tokenizer.ggml.bos_token_id", 2u).set("tokenizer.ggml.eos_token_id", 3u);
    CHECK(same_bits(vectors_of(from_gguf(file)), expected));
    file.set("tokenizer.ggml.cls_token_id", 5u);
    CHECK_FALSE(same_bits(vectors_of(from_gguf(file)), expected));
    file = random.gguf();
    file.erase("bert.pooling_type").erase("bert.attention.causal");
    CHECK(same_bits(vectors_of(from_gguf(file)), expected));
}

TEST_CASE("GGUF files that are no encoders, or lie, are refused") {
    using enum ErrorCode;
    refuse_gguf(unsupported, "bert.pooling_type is 3, expected 1 (the mean) or 2",
                [](auto& f) { f.set("bert.pooling_type", 3u); });
    refuse_gguf(unsupported, "bert.attention.causal is true, expected an encoder",
                [](auto& f) { f.set("bert.attention.causal", true); });
    refuse_gguf(format, "bert.block_count is 0, expected 1", [](auto& f) { f.set("bert.block_count", 0u); });
    refuse_gguf(format, "says that it has 1000000 layers", [](auto& f) { f.set("bert.block_count", 1000000u); });
    refuse_gguf(format, "bert.attention.head_count is 0", [](auto& f) { f.set("bert.attention.head_count", 0u); });
    refuse_gguf(format, "a width of 48 is not a multiple of 5 heads", [](auto& f) { f.set("bert.attention.head_count", 5u); });
    refuse_gguf(format, "bert.attention.layer_norm_epsilon is missing",
                [](auto& f) { f.erase("bert.attention.layer_norm_epsilon"); });
    for (const char* key : {"context_length", "embedding_length", "feed_forward_length"}) {
        refuse_gguf(format, std::string{"lacks the key bert."} + key, [&](auto& f) { f.erase(std::string{"bert."} + key); });
        refuse_gguf(format, " dimensions, the first two ", [&](auto& f) { f.set(std::string{"bert."} + key, 24u); });
    }
    refuse_gguf(format, "token_types.weight is missing", [](auto& f) { f.tensor("token_types.weight").name = "else"; });
    refuse_gguf(format, "lacks the tensor token_embd_norm.bias",
                [](auto& f) { f.tensor("token_embd_norm.bias").name = "else"; });
    refuse_gguf(format, "lacks the tensor blk.1.layer_output_norm.weight",
                [](auto& f) { f.tensor("blk.1.layer_output_norm.weight").name = "else"; });
    refuse_gguf(unsupported, "has the tensor cls.weight, which is not known",
                [](auto& f) { f.template add_tensor<float>("cls.weight", {1}, DType::f32, {1}); });
    refuse_gguf(vocabulary, "has no vocabulary", [](auto& f) { f.erase("tokenizer.ggml.tokens"); });
    refuse_gguf(vocabulary, "has a tokenizer of the kind 'llama', expected 'bert'",
                [](auto& f) { f.set("tokenizer.ggml.model", "llama"); });
    refuse_gguf(vocabulary, "has 70 tokens, but 1 token types",
                [](auto& f) { f.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>{1}); });
    refuse_gguf(vocabulary, "has 70 for tokenizer.ggml.cls_token_id, but there are 70 tokens",
                [](auto& f) { f.set("tokenizer.ggml.cls_token_id", 70u); });
    const auto tokens = [](auto change) {
        return [change](GgufBytes& f) {
            RandomEncoder random;
            change(random.pieces);
            f.set_array("tokenizer.ggml.tokens", random.pieces);
            f.erase("tokenizer.ggml.token_type");
            for (const char* key : {"cls_token_id", "seperator_token_id", "unknown_token_id"})
                f.erase(std::string{"tokenizer.ggml."} + key);
        };
    };
    refuse_gguf(vocabulary, "lacks the token '[CLS]'", tokens([](auto& all) { all[2] = "x1"; }));
    refuse_gguf(vocabulary, "lacks the token '[SEP]'", tokens([](auto& all) { all[3] = "x1"; }));
    refuse_gguf(vocabulary, "lacks the token '[UNK]'", tokens([](auto& all) { all[1] = "x1"; }));
    refuse_gguf(vocabulary, "has the token '##x1' twice", tokens([](auto& all) { all[7] = all[8] = "x1"; }));
    refuse_gguf(vocabulary, "has 71 tokens, but only 70 embedding rows", tokens([](auto& all) { all.push_back("x1"); }));
}

TEST_CASE("folders that are no encoders, or lie, are refused") {
    using enum ErrorCode;
    const auto config = [](const char* field, const nlohmann::json& value) {
        return [=](const TemporaryFolder& f) { f.write("config.json", config_with(field, value)); };
    };
    refuse_folder(unsupported, "has the model_type 'roberta', expected llama", config("model_type", "roberta"));
    refuse_folder(format, "num_hidden_layers", config("num_hidden_layers", 0));
    refuse_folder(format, "layers, but the weights have", config("num_hidden_layers", 1000000));
    refuse_folder(format, "num_attention_heads", config("num_attention_heads", 0));
    refuse_folder(format, "has 48 for hidden_size, expected a multiple of its 5 heads", config("num_attention_heads", 5));
    for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                              "max_position_embeddings"})
        refuse_folder(format, field, config(field, nullptr));
    refuse_folder(format, "has the shape 80 x 48, but the configuration says 96 x 48", config("intermediate_size", 96));
    refuse_folder(format, "token_type_embeddings.weight has the shape 2 x 48", config("type_vocab_size", 1));
    refuse_folder(unsupported, "has 'swish' for hidden_act, expected 'gelu'", config("hidden_act", "swish"));
    refuse_folder(unsupported, "position_embedding_type", config("position_embedding_type", "relative_key"));
    refuse_folder(unsupported, "is_decoder", config("is_decoder", true));
    refuse_folder(unsupported, "projection_dim", config("projection_dim", 128));
    refuse_folder(
        format, "lacks the tensor", [](const auto&) {}, [](auto& r) { r.tensors.erase(r.tensors.begin() + 3); });
    refuse_folder(
        unsupported, "has the tensor question_encoder.encode_proj.weight", [](const auto&) {},
        [](auto& r) {
            r.tensors.push_back({"", "question_encoder.encode_proj.weight", {2}, {1, 2}, DType::f32});
        });
    const auto file = [](const char* name, const std::string& text) {
        return [=](const TemporaryFolder& f) { f.write(name, text); };
    };
    refuse_folder(vocabulary, "lacks the token '[CLS]'", file("vocab.txt", "a\nb\n[SEP]\n[UNK]\n"));
    refuse_folder(vocabulary, "lacks the token '[UNK]'", file("vocab.txt", "a\nb\n[SEP]\n[CLS]\n"));
    refuse_folder(vocabulary, "has the token 'a' twice, with the ids 0 and 1", file("vocab.txt", "a\na\n[SEP]\n[CLS]\n[UNK]"));
    refuse_folder(vocabulary, "lacks the token", file("vocab.txt", ""));
    refuse_folder(vocabulary, "neither tokenizer.json nor vocab.txt",
                  [](const auto& f) { std::filesystem::remove(f.path() / "vocab.txt"); });
    std::string many = "[CLS]\n[SEP]\n[UNK]\n";
    for (int i = 0; i < 100; ++i) many += "w" + std::to_string(i) + '\n';
    refuse_folder(vocabulary, "has 103 tokens, but only 70 embedding rows", file("vocab.txt", many));
    refuse_folder(unsupported, "do_basic_tokenize", file("tokenizer_config.json", R"({"do_basic_tokenize": false})"));
    refuse_folder(unsupported, "has the module 'sentence_transformers.models.Dense'",
                  file("modules.json", R"([{"type": "sentence_transformers.models.Dense"}])"));
    refuse_folder(format, "is not a list of modules", file("modules.json", "{}"));
    for (const char* path : {"", "..", "../secret", "/etc"})
        refuse_folder(format, "expected the name of a folder beside it",
                      file("modules.json", R"([{"type": "a.Pooling", "path": ")" + std::string{path} + "\"}]"));
    refuse_folder(unsupported, "has pooling_mode_max_tokens, expected either",
                  file("1_Pooling/config.json", R"({"pooling_mode_max_tokens": true})"));
    refuse_folder(unsupported, "expected either",
                  file("1_Pooling/config.json", R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})"));
    refuse_folder(unsupported, "has no pooling", file("1_Pooling/config.json", R"({"pooling_mode_mean_tokens": false})"));
    refuse_folder(format, "pooling_mode_mean_tokens", file("1_Pooling/config.json", R"({"pooling_mode_mean_tokens": 7})"));
    refuse_folder(format, "max_seq_length", file("sentence_bert_config.json", R"({"max_seq_length": 1})"));
}

TEST_CASE("tokenizer.json that is another tokenizer, or lies, is refused") {
    using enum ErrorCode;
    const auto change = [](ErrorCode code, std::string_view sentence, const std::function<void(nlohmann::json&)>& how) {
        nlohmann::json json = tokenizer_json(encoder_pieces());
        how(json);
        refuse_folder(code, sentence, [&](const TemporaryFolder& f) { f.write("tokenizer.json", json.dump()); });
    };
    change(unsupported, "has the type 'BPE', expected WordPiece", [](auto& j) { j["model"]["type"] = "BPE"; });
    change(unsupported, "continuing_subword_prefix", [](auto& j) { j["model"]["continuing_subword_prefix"] = "@@"; });
    change(unsupported, "has the normalizer 'NFC', expected BertNormalizer", [](auto& j) { j["normalizer"]["type"] = "NFC"; });
    change(unsupported, "has the normalizer ''", [](auto& j) { j["normalizer"] = nullptr; });
    change(unsupported, "clean_text", [](auto& j) { j["normalizer"]["clean_text"] = false; });
    change(unsupported, "has the pre_tokenizer 'Whitespace'", [](auto& j) { j["pre_tokenizer"]["type"] = "Whitespace"; });
    change(unsupported, "has the post_processor 'ByteLevel'", [](auto& j) { j["post_processor"]["type"] = "ByteLevel"; });
    change(unsupported, "has the token 'x', which is not special", [](auto& j) {
        j["added_tokens"].push_back({{"id", 70}, {"content", "x"}, {"special", false}});
    });
    change(vocabulary, "the same id 7", [](auto& j) { j["model"]["vocab"]["hello"] = 7; });
    change(vocabulary, "gives the token 'hello' the id 2000000000, but there are only 70 tokens",
           [](auto& j) { j["model"]["vocab"]["hello"] = 2000000000; });
    change(format, "vocab", [](auto& j) { j["model"]["vocab"]["hello"] = -1; });
    change(format, "vocab", [](auto& j) { j["model"]["vocab"]["hello"] = "x"; });
    change(format, "vocab", [](auto& j) { j["model"]["vocab"] = nlohmann::json::array(); });
    change(vocabulary, "lacks the token '<unk>', which stands for unknown words",
           [](auto& j) { j["model"]["unk_token"] = "<unk>"; });
    change(format, "max_input_chars_per_word", [](auto& j) { j["model"]["max_input_chars_per_word"] = 0; });
}

TEST_CASE("an encoder is not written, and its tokenizer is none of a model that writes texts") {
    RandomEncoder random;
    const std::string bytes = random.fill().gguf().bytes();
    const GgufFile file = view(bytes);
    const TemporaryFolder folder;
    check_error(ErrorCode::unsupported, "it is an encoder, and these are only read",
                [&] { write_model(folder.path() / "out.gguf", *load_model(file), file, DType::f16); });
    check_error(ErrorCode::unsupported, "bert", [&] { load_tokenizer(file); });
    CHECK_FALSE(load_model(file)->config.causal);
    const Encoder writes = load_encoder(FLASHBACK_TEST_MODEL);
    CHECK(writes.model->config.causal);
    CHECK(vectors_of(writes).size() == 4 * writes.model->config.width);
}

}  // namespace test_files_encoder

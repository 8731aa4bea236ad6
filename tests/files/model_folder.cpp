#include "flashback/files/load.hpp"
#include "support/errors.hpp"
#include "support/folder_writer.hpp"
#include "support/temporary_folder.hpp"
#include "support/tokenizer_json.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_model_folder {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::FolderWriter;
using flashback_test::random_weights;
using flashback_test::small_shape;
using flashback_test::TemporaryFolder;

namespace {

std::shared_ptr<const Transformer> loaded(const FolderWriter& writer, const TemporaryFolder& folder) {
    writer.write(folder.path());
    return load_model(folder.path());
}
void refused(ErrorCode code, std::string_view part, const FolderWriter& writer) {
    const TemporaryFolder folder;
    check_error(code, part, [&] { loaded(writer, folder); });
}
/// Takes a prefix off all names.
void cut_prefix(FolderWriter& writer, std::string_view prefix) {
    for (auto& tensor : writer.tensors) {
        if (tensor.name.starts_with(prefix)) tensor.name.erase(0, prefix.size());
    }
}

}  // namespace

TEST_CASE("every family comes back from its folder with all bits, whatever the prefix of its names") {
    struct Case {
        TransformerConfig shape;
        std::string_view prefix;
    };
    for (const Case& one : {Case{small_shape(Family::llama), "model."}, Case{small_shape(Family::mistral), "model."},
                            Case{small_shape(Family::qwen2), "model."}, Case{small_shape(Family::gpt2), "transformer."},
                            Case{small_shape(Family::opt), "model."}, Case{small_shape(Family::opt, true), "model."}}) {
        for (const bool tied : {true, false}) {
            for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
                CAPTURE(int(one.shape.family));
                CAPTURE(tied);
                const Transformer model = random_weights(one.shape, tied, type);
                const TemporaryFolder folder;
                FolderWriter writer{model, type};
                const auto same = loaded(writer, folder);
                CHECK(same->fingerprint == model.fingerprint);
                CHECK(same->head.has_value() != tied);
                CHECK(same->rotary_frequencies == model.rotary_frequencies);
                CHECK(same->config.family == one.shape.family);
                cut_prefix(writer, one.prefix);
                CHECK(loaded(writer, folder)->fingerprint == model.fingerprint);
            }
        }
    }
}

TEST_CASE("of a tied pair either may be absent") {
    const Transformer model = random_weights(small_shape(Family::llama), true);
    const TemporaryFolder folder;
    FolderWriter writer{model};
    auto& embedding = writer.tensors.front();
    REQUIRE(embedding.name == "model.embed_tokens.weight");
    writer.tensors.push_back({"lm_head.weight", embedding.shape, embedding.values});
    CHECK(loaded(writer, folder)->fingerprint == model.fingerprint);
    writer.tensors.erase(writer.tensors.begin());
    CHECK(loaded(writer, folder)->fingerprint == model.fingerprint);

    FolderWriter other{model};
    other.tensors.push_back(other.tensors.front());
    other.tensors.back().name = "lm_head.weight";
    other.tensors.back().values[5] += 1;
    refused(ErrorCode::unsupported,
            "has tied lm_head.weight to the embedding (tie_word_embeddings), but the two tensors differ", other);
    FolderWriter untied{model};
    untied.config["tie_word_embeddings"] = false;
    refused(ErrorCode::format, "lacks the tensor lm_head.weight", untied);
}

TEST_CASE("stored buffers are ignored by name, other tensors refused by name") {
    const Transformer model = random_weights(small_shape(Family::gpt2), true);
    const TemporaryFolder folder;
    FolderWriter writer{model};
    for (const char* name : {"transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias", "x.rotary_emb.inv_freq"})
        writer.tensors.push_back({name, {2}, {1, 2}});
    CHECK(loaded(writer, folder)->fingerprint == model.fingerprint);
    for (const char* name : {"transformer.h.0.attn.c_attn.extra", "score.weight", "transformer.h.2.ln_1.weight", "attn_bias"}) {
        FolderWriter extra{model};
        extra.tensors.push_back({name, {2}, {1, 2}});
        refused(ErrorCode::unsupported, std::string{"has the tensor "} + name + ", which is not known", extra);
    }
}

TEST_CASE("tensors that do not fit config.json are refused by name") {
    const Transformer model = random_weights(small_shape(Family::qwen2), true);
    const auto index_of = [](const FolderWriter& writer, std::string_view name) {
        std::size_t i = 0;
        while (writer.tensors.at(i).name != name) ++i;
        return i;
    };
    FolderWriter missing{model};
    missing.tensors.erase(missing.tensors.begin() +
                          static_cast<std::ptrdiff_t>(index_of(missing, "model.layers.1.self_attn.k_proj.bias")));
    refused(ErrorCode::format, "lacks the tensor model.layers.1.self_attn.k_proj.bias", missing);

    FolderWriter turned{model};
    auto& up = turned.tensors[index_of(turned, "model.layers.0.mlp.up_proj.weight")];
    std::swap(up.shape[0], up.shape[1]);
    refused(ErrorCode::format,
            "tensor model.layers.0.mlp.up_proj.weight has the shape 24 x 40, but the configuration says 40 x 24", turned);

    FolderWriter more_layers{model};
    more_layers.config["num_hidden_layers"] = 3;
    refused(ErrorCode::format, "lacks the tensor model.layers.2.input_layernorm.weight", more_layers);
    more_layers.config["num_hidden_layers"] = 1'000'000'000;
    refused(ErrorCode::format, "says that there are 1000000000 layers, but the weights have", more_layers);

    FolderWriter huge{model};
    huge.config["vocab_size"] = 2'000'000'000;
    refused(ErrorCode::format,
            "tensor model.embed_tokens.weight has the shape 37 x 24, but the configuration says 2000000000 x 24", huge);
    FolderWriter no_layers{model};
    no_layers.config["num_hidden_layers"] = 1;
    refused(ErrorCode::unsupported, "has the tensor model.layers.1.", no_layers);
}

TEST_CASE("the tokenizer says what stands in front of texts, the configurations what ends them") {
    const Transformer model = random_weights(small_shape(Family::llama), true);
    const TemporaryFolder folder;
    FolderWriter writer{model};
    writer.config["eos_token_id"] = 5;
    CHECK_FALSE(ModelSource::open(folder.path()).has_tokenizer());
    auto m = loaded(writer, folder);
    CHECK(m->text_head.empty());
    CHECK(m->text_ends == std::vector<TokenId>{5});

    folder.write("generation_config.json", R"({"eos_token_id": [5, 7]})");
    folder.write(
        "tokenizer.json",
        flashback_test::character_tokenizer({"a", flashback_test::space_mark}, {flashback_test::space_mark + " a"}).dump());
    m = loaded(writer, folder);
    CHECK(m->text_head == std::vector<TokenId>{1});
    CHECK(m->text_ends == std::vector<TokenId>{5, 7});
    CHECK(m->is_end(7));
    const ModelSource source = ModelSource::open(folder.path());
    CHECK(source.has_tokenizer());
    CHECK_FALSE(source.gguf());
    CHECK(load_tokenizer(source).size() == 4);
    CHECK(load_model(source)->fingerprint == model.fingerprint);

    std::vector<std::string> many;
    for (int i = 0; i < 40; ++i) many.push_back("t" + std::to_string(i));
    many.push_back(flashback_test::space_mark);
    folder.write("tokenizer.json", flashback_test::character_tokenizer(many, {"t t"}).dump());
    check_error(ErrorCode::vocabulary, "has 43 tokens, but only 37 embedding rows", [&] { load_model(folder.path()); });
}

TEST_CASE("a folder without its parts is refused by name") {
    const TemporaryFolder folder;
    check_error(ErrorCode::io, "config.json", [&] { load_model(folder.path()); });
    const Transformer model = random_weights(small_shape(Family::llama), true);
    const FolderWriter writer{model};
    folder.write("config.json", writer.config.dump());
    check_error(ErrorCode::io, "has no weights: neither model.safetensors nor", [&] { load_model(folder.path()); });
}

}  // namespace test_files_model_folder

// Hugging Face folders, wherever a model is taken, and `flashback convert`.
#include "cli/tool.hpp"
#include "support/folder_writer.hpp"
#include "support/tokenizer_json.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_folder {

using flashback_test::FolderWriter;
using flashback_test::refused;
using flashback_test::space_mark;
using flashback_test::TemporaryFolder;
using flashback_test::tool;
using flashback_test::tool_json;

namespace {

/// A random Llama whose tokens are a few letters.
std::string write_model_folder(const TemporaryFolder& folder, bool with_tokenizer) {
    const auto path = folder.path() / (with_tokenizer ? "model" : "model-without-tokenizer");
    FolderWriter{flashback_test::random_weights(flashback_test::small_shape(flashback::Family::llama), true)}.write(path);
    if (with_tokenizer) {
        const auto json = flashback_test::character_tokenizer({"a", "b", "c", space_mark, "ab", space_mark + "ab"},
                                                              {"a b", space_mark + " ab"});
        folder.write("model/tokenizer.json", json.dump());
    }
    return path.string();
}

}  // namespace

TEST_CASE("a Hugging Face folder is a model like any other") {
    const TemporaryFolder folder;
    const std::string model = write_model_folder(folder, true);
    CHECK(tool({"tokenize", "--model", model, "--text", "ab abc"}).out == "7,7,4\n");
    const auto scores = tool_json({"score", "--model", model, "--text", "ab abc"});
    CHECK(scores["tokens"] == std::vector<int>{1, 7, 7, 4});
    const auto generated =
        tool_json({"generate", "--model", model, "--layout", "none", "--prompt", "ab", "--max-tokens", "5", "--ignore-eos"});
    CHECK(generated["tokens"].size() == 5);
    CHECK(tool_json({"ppl", "--model", model, "--text", folder.write("text", "ab abc ab ab cab")})["tokens"].get<int>() > 5);

    const auto seen = tool_json({"inspect", "--model", model, "--tensors"});
    CHECK(seen["format"] == "Hugging Face folder");
    CHECK(seen["architecture"] == "llama");
    CHECK(seen["obstacle"].is_null());
    CHECK(seen["vocabulary"]["tokens"] == 8);
    CHECK(seen["hyper_parameters"]["hidden_size"] == 24);
    CHECK(seen["tensors"].size() == seen["weights"]["tensors"].get<std::size_t>());
    CHECK(seen["weights"]["types"]["F32"]["weights"] == seen["weights"]["weights"]);
    CHECK(tool({"inspect", "--model", model}).out.find("can be run          yes") != std::string::npos);

    auto config = nlohmann::json::parse(flashback_test::read_file(model + "/config.json"));
    config["mlp_bias"] = true;
    folder.write("model/config.json", config.dump());
    const auto refused_model = tool_json({"inspect", "--model", model});
    CHECK(refused_model["obstacle"].get<std::string>().find("has true for mlp_bias") != std::string::npos);
    refused(1, "has true for mlp_bias, expected false", {"score", "--model", model, "--text", "ab"});
}

TEST_CASE("hostile 21: weights of a folder that are no numbers are an error in score, and inspect tells which they are") {
    using flashback::DType;
    const TemporaryFolder folder;
    const std::string model = write_model_folder(folder, true);
    for (const DType type : {DType::f32, DType::f16}) {
        for (const float strange : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            FolderWriter writer{
                flashback_test::random_weights(flashback_test::small_shape(flashback::Family::llama), true, type), type};
            const auto norm = std::ranges::find(writer.tensors, "model.norm.weight", &flashback_test::TensorToWrite::name);
            REQUIRE(norm != writer.tensors.end());
            norm->values[5] = norm->values[7] = strange;
            writer.write(model);
            refused(1, "after token 0 of the text, the logit of token 0 is not a finite number: the weights of '" + model + "'",
                    {"score", "--model", model, "--text", "ab"});
            CHECK(tool_json({"inspect", "--model", model})["weights"]["not_finite"] ==
                  nlohmann::json{{"weights", 2}, {"tensor", "model.norm.weight"}, {"element", 5}});
            CHECK(tool({"inspect", "--model", model})
                      .out.find("not finite          2 of the weights; the first is element 5 of model.norm.weight\n") !=
                  std::string::npos);
        }
    }
    write_model_folder(folder, true);
    CHECK(tool_json({"inspect", "--model", model})["weights"]["not_finite"].is_null());
}

TEST_CASE("without tokenizer files all that works on ids still works") {
    const TemporaryFolder folder;
    const std::string model = write_model_folder(folder, false);
    CHECK(tool_json({"score", "--model", model, "--tokens", "1,7,7,4"})["tokens"].size() == 4);
    CHECK(tool_json({"inspect", "--model", model})["vocabulary"].is_null());
    refused(1, "has no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt",
            {"score", "--model", model, "--text", "ab"});
    refused(1, "config.json': No such file", {"score", "--model", folder.path().string(), "--tokens", "1,2"});
}

TEST_CASE("convert writes a GGUF file that scores as the folder does, to the last digit") {
    const TemporaryFolder folder;
    const std::string model = write_model_folder(folder, true);
    const std::string out = (folder.path() / "out.gguf").string();
    CHECK(tool({"convert", model, out}).out.starts_with("wrote '" + out + "', "));
    const auto score = [](const std::string& of) {
        return tool_json({"score", "--model", of, "--text", "ab abc", "--top", "3"});
    };
    CHECK(score(out) == score(model));
    CHECK(tool_json({"inspect", "--model", out})["vocabulary"]["tokens"] == 37);

    refused(1, "exists already; --force replaces it", {"convert", model, out});
    const auto forced = tool_json({"convert", model, out, "--dtype", "bf16", "--force"});
    CHECK(forced["in"] == model);
    CHECK(forced["out"] == out);
    CHECK(forced["dtype"] == "BF16");
    CHECK(forced["architecture"] == "llama");
    refused(1, "is a GGUF file already, expected a Hugging Face folder", {"convert", out, out + "2"});
    refused(1, "No such file", {"convert", (folder.path() / "nothing").string(), out + "2"});
    refused(2, "--dtype", {"convert", model, out, "--dtype", "q4_k"});
    CHECK_FALSE(std::filesystem::exists(out + "2"));

    const std::string bare = write_model_folder(folder, false);
    const auto result = tool({"convert", bare, out, "--force"});
    CHECK(result.status == 0);
    CHECK(result.err.find("has no tokenizer, and so the GGUF file has no vocabulary") != std::string::npos);
    CHECK(tool_json({"score", "--model", out, "--tokens", "1,7"})["tokens"].size() == 2);
}

TEST_CASE("every command takes a folder of every family, and the file that convert makes of it") {
    using flashback::Family;
    const TemporaryFolder folder;
    std::string text;
    for (int i = 0; i < 40; ++i) text += "The model reads line " + std::to_string(i) + " of a text.\n";
    const std::string train = folder.write("train.txt", text);
    const std::string corpus = folder.write("corpus.jsonl", R"({"id": "1", "contents": "a line of some other text"})"
                                                            "\n"
                                                            R"({"id": "2", "contents": "what a model reads"})"
                                                            "\n");
    for (const auto& [name, family] : {std::pair{"llama", Family::llama},
                                       {"mistral", Family::mistral},
                                       {"qwen2", Family::qwen2},
                                       {"gpt2", Family::gpt2},
                                       {"opt", Family::opt}}) {
        flashback::TransformerConfig shape = flashback_test::small_shape(family);
        shape.vocab = 260;
        shape.window = 128;
        FolderWriter writer{flashback_test::random_weights(shape, true)};
        writer.config["bos_token_id"] = writer.config["eos_token_id"] = 256;
        const std::string model = (folder.path() / name).string();
        writer.write(model);
        folder.write(std::string{name} + "/tokenizer.json", flashback_test::byte_tokenizer({"te"}, {"t e"}).dump());
        std::vector<std::string> models{model};
        if (family != Family::opt) {
            models.push_back(model + ".gguf");
            CHECK(tool({"convert", model, models.back()}).status == 0);
        }
        for (const std::string& one : models) {
            CAPTURE(one);
            CHECK(tool_json({"inspect", "--model", one})["obstacle"].is_null());
            CHECK(tool_json({"score", "--model", one, "--text", "a text"})["tokens"].size() >= 5);
            CHECK(tool_json({"ppl", "--model", one, "--text", train, "--window", "64"})["perplexity"].get<double>() > 1);
            const std::string adapter = one + ".adapter";
            CHECK(tool_json({"finetune", "--model", one, "--train", train, "--corpus", corpus, "--out", adapter, "--marker-ids",
                             "1,2", "--passage-tokens", "16", "--query-tokens", "8", "--steps", "1", "--batch",
                             "2"})["steps"] == 1);
            CHECK(tool_json({"ppl", "--model", one, "--text", train, "--corpus", corpus, "--layout", "append", "--adapter",
                             adapter, "--passage-tokens", "16", "--query-tokens", "8", "--strides", "3"})["strides"] == 3);
            const auto generated = tool_json({"generate", "--model", one, "--corpus", corpus, "--adapter", adapter, "--prompt",
                                              "a text", "--max-tokens", "20", "--ignore-eos", "--passage-tokens", "16"});
            CHECK(generated["tokens"].size() == 20);
            CHECK(generated["stats"]["retrievals"].get<int>() > 0);
        }
    }
}

}  // namespace test_cli_folder

// --adapter: what the commands do with a LoRA and marker rows, and what they refuse.
#include "cli/tool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"
#include "support/random_adapter.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <utility>
#include <vector>

using namespace flashback_test;
using nlohmann::json;
namespace fb = flashback;

namespace {

const fb::Transformer& model() {
    static const auto loaded = fb::load_model(FLASHBACK_TEST_MODEL);
    return *loaded;
}

/// Saves an adapter for the default model and gives its folder.
std::string save(const TemporaryFolder& folder, const std::string& name, const fb::Adapter& adapter) {
    fb::save_adapter(adapter, model().config, folder.path() / name, {.base_model = "the/base", .dropout = 0.05f});
    return (folder.path() / name).string();
}

fb::Adapter lora(std::vector<fb::TokenId> ids = {}) {
    return random_adapter(
        model().config,
        {.modules = {fb::LinearModule::q, fb::LinearModule::v}, .rank = 4, .scale = 0.5f, .ids = std::move(ids)});
}

/// The log probabilities that a session of the library finds.
std::vector<double> library_logprobs(const std::vector<fb::TokenId>& tokens, const fb::SessionOptions& options,
                                     std::shared_ptr<const fb::Transformer> of = fb::load_model(FLASHBACK_TEST_MODEL)) {
    fb::Session session{std::move(of), options};
    const std::span<const float> logits = session.evaluate_all(tokens);
    std::vector<double> found;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        const auto row = logits.subspan(i * session.vocab_size(), session.vocab_size());
        const double most = static_cast<double>(*std::ranges::max_element(row));
        double total = 0;
        for (const float logit : row) total += std::exp(static_cast<double>(logit) - most);
        found.push_back(static_cast<double>(row[static_cast<std::size_t>(tokens[i + 1])]) - most - std::log(total));
    }
    return found;
}

}  // namespace

TEST_CASE("score --adapter gives what the library gives, at any scale") {
    const TemporaryFolder folder;
    const fb::Adapter adapter = lora({5, 4096});
    const std::string a = save(folder, "a", adapter);
    const auto packed = std::make_shared<const fb::PackedAdapter>(adapter, model().config);
    const json plain = tool_json({"score", "--text", compiler_text, "--top", "1"});
    CHECK_FALSE(plain.contains("adapter"));
    for (const auto& [suffix, scale] : {std::pair{"", 1.0f}, std::pair{":0.25", 0.25f}, std::pair{":-1", -1.0f}}) {
        const json found = tool_json({"score", "--text", compiler_text, "--top", "1", "--adapter", a + suffix});
        CHECK(found["adapter"] == json({{"folder", a}, {"scale", scale}}));
        CHECK(found["logprobs"] != plain["logprobs"]);
        const auto expected =
            library_logprobs(found["tokens"].get<std::vector<fb::TokenId>>(), {.adapter = packed, .adapter_scale = scale});
        REQUIRE(found["logprobs"].size() == expected.size() + 1);
        for (std::size_t i = 0; i < expected.size(); ++i) {
            CHECK(std::fabs(found["logprobs"][i + 1].get<double>() - expected[i]) < 1e-12);
        }
    }
    // A LoRA that is scaled by nothing does nothing.
    CHECK(tool_json({"score", "--text", compiler_text, "--top", "1", "--adapter",
                     save(folder, "b", lora()) + ":0"})["logprobs"] == plain["logprobs"]);
    // A folder whose name has a colon is a folder.
    CHECK(tool_json({"score", "--text", compiler_text, "--adapter", save(folder, "c:0.5", lora())})["adapter"]["scale"] == 1);
}

TEST_CASE("ppl --adapter finds the nats that score finds, and quantised weights take an adapter") {
    const TemporaryFolder folder;
    const std::string a = save(folder, "a", lora());
    const std::string file = folder.write("text.txt", compiler_text);
    const json found = tool_json({"ppl", "--text", file, "--keep-markers", "--adapter", a + ":8"});
    CHECK(found["adapter"] == json({{"folder", a}, {"scale", 8}}));
    const json scored = tool_json({"score", "--text", compiler_text, "--adapter", a + ":8"});
    double total = 0;
    for (std::size_t i = 1; i < scored["logprobs"].size(); ++i) total -= scored["logprobs"][i].get<double>();
    CHECK(found["nats_per_token"].get<double>() ==
          doctest::Approx(total / static_cast<double>(scored["logprobs"].size() - 1)).epsilon(1e-9));

    const std::string q8 = (folder.path() / "q8.gguf").string();
    REQUIRE(tool({"quantize", FLASHBACK_TEST_MODEL, q8, "--dtype", "q8_0"}).status == 0);
    const double quantised =
        tool_json({"ppl", "--text", file, "--keep-markers", "--adapter", a + ":8", "--model", q8})["nats_per_token"]
            .get<double>();
    const double plain = tool_json({"ppl", "--text", file, "--keep-markers", "--model", q8})["nats_per_token"].get<double>();
    CHECK(std::fabs(quantised - found["nats_per_token"].get<double>()) < std::fabs(quantised - plain) / 10);
}

TEST_CASE("generate --markers auto is on where the adapter has rows for the marking tokens") {
    const TemporaryFolder folder;
    const auto generate = [&](const std::string& adapter, const std::string& markers) {
        return tool_json({"generate", "--corpus", write_corpus(folder), "--prompt", "The kernel of an operating system",
                          "--max-tokens", "20", "--markers", markers, "--adapter", adapter});
    };
    const auto evaluated = [](const json& found) { return found["stats"]["evaluated"].get<int>(); };
    const std::string with = save(folder, "with", lora({4096, 4097}));
    const json automatic = generate(with, "auto");
    CHECK(automatic["adapter"]["folder"] == with);
    const json on = generate(with, "on");
    const json off = generate(with, "off");
    REQUIRE(evaluated(on) > evaluated(off));  // two markers at each retrieval
    CHECK(automatic["tokens"] == on["tokens"]);
    CHECK(evaluated(automatic) == evaluated(on));
    for (const std::vector<fb::TokenId>& ids : {std::vector<fb::TokenId>{}, {4096}, {4097, 7}}) {
        const std::string without = save(folder, "without", lora(ids));
        CHECK(evaluated(generate(without, "auto")) == evaluated(generate(without, "off")));
    }
}

TEST_CASE("ppl --layout takes an adapter, and its markers") {
    const TemporaryFolder folder;
    std::string long_text;
    for (int i = 0; i < 12; ++i) long_text += compiler_text + ' ';
    const std::string file = folder.write("text.txt", long_text);
    const auto measure = [&](const std::string& markers, const std::string& adapter) {
        std::vector<std::string> command{
            "ppl",       "--text", file,        "--layout", "append",    "--corpus", write_corpus(folder), "--init", "64",
            "--context", "48",     "--strides", "2",        "--markers", markers};
        if (!adapter.empty()) command.insert(command.end(), {"--adapter", adapter});
        return tool_json(command);
    };
    const std::string with = save(folder, "with", lora({4096, 4097}));
    const json plain = measure("auto", "");
    CHECK(plain["markers"] == false);
    CHECK_FALSE(plain.contains("adapter"));
    const json automatic = measure("auto", with);
    CHECK(automatic["markers"] == true);
    CHECK(automatic["adapter"] == json({{"folder", with}, {"scale", 1}}));
    CHECK(automatic["nats_per_token"] == measure("on", with)["nats_per_token"]);
    const json off = measure("off", with);
    CHECK(off["markers"] == false);
    CHECK(off["nats_per_token"] != automatic["nats_per_token"]);
    CHECK(off["nats_per_token"] != plain["nats_per_token"]);
    CHECK(measure("off", save(folder, "without", lora()) + ":0")["nats_per_token"] == plain["nats_per_token"]);
}

TEST_CASE("--adapter: what is no adapter, or none of this model, is one sentence") {
    const TemporaryFolder folder;
    const std::string a = save(folder, "a", lora());
    const std::string file = folder.write("text.txt", compiler_text);
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"score", "--text", compiler_text},
          {"ppl", "--text", file},
          {"generate", "--layout", "none", "--prompt", compiler_text, "--max-tokens", "2"}}) {
        CAPTURE(command[0]);
        const auto with = [&](const std::string& adapter) {
            std::vector<std::string> all = command;
            all.insert(all.end(), {"--adapter", adapter});
            return tool(all);
        };
        check_refused(with((folder.path() / "absent").string()), 1, "adapter_config.json': No such file or directory");
        check_refused(with(file), 1, "text.txt' is no GGUF file: it starts with 'A co'");
        check_refused(with(a + ":"), 2, "--adapter: found '' behind the last colon of '");
        check_refused(with(a + ":x"), 2, "--adapter: found 'x' behind the last colon");
        check_refused(with(a + ":1x"), 2, "--adapter: found '1x' behind the last colon");
        check_refused(with(a + ":nan"), 2, "--adapter: found 'nan' behind the last colon");
        check_refused(with(":1"), 2, "--adapter: found '1' behind the last colon of ':1'");
        check_refused(with(""), 2, "--adapter: found no name, expected that of a folder or file");
    }
    fb::TransformerConfig other = model().config;
    other.width += 16;
    const std::string wrong = (folder.path() / "wrong").string();
    fb::save_adapter(random_adapter(other, {.modules = {fb::LinearModule::q}}), other, wrong);
    check_refused(tool({"score", "--text", compiler_text, "--adapter", wrong}), 1,
                  "tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has the shape 3 x ");
    std::filesystem::remove(folder.path() / "a" / "adapter_model.safetensors");
    check_refused(tool({"score", "--text", compiler_text, "--adapter", a}), 1, "adapter_model.safetensors': No such file");
}

TEST_CASE("inspect --adapter says what an adapter is, and whether the model takes it") {
    const TemporaryFolder folder;
    const std::string a = save(folder, "a", lora({4096, 4097}));
    const json found = tool_json({"inspect", "--adapter", a, "--tensors"});
    CHECK(found["folder"] == a);
    CHECK(found["format"] == "PEFT LoRA");
    CHECK(found["base_model"] == "the/base");
    CHECK(found["rank"] == 4);
    CHECK(found["alpha"] == 2);
    CHECK(found["scale"] == 0.5);
    CHECK(found["dropout"] == 0.05);
    CHECK(found["target_modules"] == json({"q_proj", "v_proj"}));
    CHECK(found["replaced_rows"] == json({4096, 4097}));
    const std::size_t layers = model().config.layers;
    CHECK(found["weights"]["tensors"] == 4 * layers + 1);
    CHECK(found["weights"]["types"]["F32"]["tensors"] == 4 * layers + 1);
    CHECK(found["tensors"].size() == 4 * layers + 1);
    CHECK(found["fingerprint"].get<std::string>().size() == 16);
    CHECK(found["obstacle"].is_null());
    CHECK(tool_json({"inspect", "--adapter", save(folder, "b", lora({4096}))})["fingerprint"] != found["fingerprint"]);

    const Result shown = tool({"inspect", "--adapter", a});
    CHECK(shown.status == 0);
    CHECK(shown.out.find("can be used with it yes") != std::string::npos);
    CHECK(shown.out.find(found["fingerprint"].get<std::string>()) != std::string::npos);

    fb::TransformerConfig deeper = model().config;
    ++deeper.layers;
    const std::string wrong = (folder.path() / "deeper").string();
    fb::save_adapter(random_adapter(deeper, {.modules = {fb::LinearModule::q}}), deeper, wrong);
    const json no = tool_json({"inspect", "--adapter", wrong});
    CHECK(no["obstacle"].get<std::string>().find("for which this model has no place") != std::string::npos);
    CHECK(no["fingerprint"].is_null());
    check_refused(tool({"inspect", "--adapter", (folder.path() / "absent").string()}), 1, "adapter_config.json': No such file");
}

TEST_CASE("hostile 21: weights of an adapter that are no numbers are refused in score, and inspect tells which they are") {
    const TemporaryFolder folder;
    const std::string peft = save(folder, "a", lora());
    const std::string gguf = (folder.path() / "a.gguf").string();
    REQUIRE(tool({"convert-adapter", peft, gguf}).status == 0);
    for (const auto& [adapter, file] : {std::pair{peft, peft + "/adapter_model.safetensors"}, std::pair{gguf, gguf}}) {
        CHECK(tool_json({"inspect", "--adapter", adapter})["weights"]["not_finite"].is_null());
        for (const float strange : {std::nanf(""), HUGE_VALF}) {
            std::string bytes = read_file(file);
            std::memcpy(bytes.data() + bytes.size() - sizeof strange, &strange, sizeof strange);  // of the last tensor the last
            std::ofstream{file, std::ios::binary} << bytes;
            const json found = tool_json({"inspect", "--adapter", adapter, "--tensors"});
            const json& last = found["tensors"].back();
            const std::string name = last["name"].get<std::string>();
            const std::size_t element = last["shape"][0].get<std::size_t>() * last["shape"][1].get<std::size_t>() - 1;
            CHECK(found["weights"]["not_finite"] == json{{"weights", 1}, {"tensor", name}, {"element", element}});
            CHECK(found["obstacle"].get<std::string>().find(name + " has a value that is not a finite number") !=
                  std::string::npos);
            CHECK(tool({"inspect", "--adapter", adapter})
                      .out.find("not finite          1 of the weights; the first is element " + std::to_string(element) +
                                " of " + name + "\n") != std::string::npos);
            check_refused(tool({"score", "--text", "x", "--adapter", adapter}), 1,
                          name + " has a value that is not a finite number");
        }
    }
}

TEST_CASE("convert-adapter: to a GGUF file and back, and what llama.cpp could not take is refused") {
    const TemporaryFolder folder;
    const std::string a = save(folder, "a", lora({262, 305}));
    const std::string plain = save(folder, "plain", lora());
    const std::string gguf = (folder.path() / "a.gguf").string();
    check_refused(tool({"convert-adapter", a, gguf}), 1, "whose output head is tied to its embedding");
    CHECK_FALSE(std::filesystem::exists(gguf));
    const json made = tool_json({"convert-adapter", a, gguf, "--no-rows"});
    CHECK(made == json({{"in", a},
                        {"out", gguf},
                        {"format", "GGUF LoRA"},
                        {"pairs", 2 * model().config.layers},
                        {"rows", json::array()},
                        {"rows_left_out", 2}}));
    const auto scored = [](const std::string& adapter, const std::vector<std::string>& more = {}) {
        std::vector<std::string> command{"score", "--text", compiler_text, "--adapter", adapter};
        command.insert(command.end(), more.begin(), more.end());
        return tool_json(command);
    };
    const json with_file = scored(gguf);
    CHECK(with_file["adapter"] == json({{"file", gguf}, {"scale", 1}}));
    CHECK(with_file["logprobs"] == scored(plain)["logprobs"]);
    CHECK(scored(gguf + ":0.5")["logprobs"] == scored(plain + ":0.5")["logprobs"]);
    check_refused(tool({"convert-adapter", a, gguf, "--no-rows"}), 1, "exists already; --force replaces it");

    // A model with a head of its own takes the rows too, and gives what the tied one gives.
    const std::string untied = (folder.path() / "untied.gguf").string();
    REQUIRE(tool({"quantize", FLASHBACK_TEST_MODEL, untied, "--dtype", "f16", "--untie"}).status == 0);
    check_refused(tool({"quantize", untied, (folder.path() / "x.gguf").string(), "--dtype", "f16", "--untie"}), 1,
                  "has an output head of its own, expected one that is tied");
    CHECK(tool_json({"convert-adapter", a, gguf, "--force", "--model", untied})["rows"] == json({262, 305}));
    const json rows = scored(gguf, {"--model", untied});
    const json same = scored(a);
    for (std::size_t i = 1; i < rows["logprobs"].size(); ++i)
        CHECK(std::fabs(rows["logprobs"][i].get<double>() - same["logprobs"][i].get<double>()) < 1e-4);
    CHECK(rows["logprobs"] != with_file["logprobs"]);

    const json found = tool_json({"inspect", "--adapter", gguf});
    CHECK(found["format"] == "GGUF LoRA");
    CHECK(found["architecture"] == "llama");
    CHECK(found["alpha"] == 2);
    CHECK(found["replaced_rows"] == json({262, 305}));
    CHECK(found["weights"]["tensors"] == 4 * model().config.layers + 2);
    CHECK(found["obstacle"].is_null());

    const std::string back = (folder.path() / "back").string();
    CHECK(tool_json({"convert-adapter", gguf, back, "--base", "some/base"})["format"] == "PEFT LoRA");
    CHECK(tool_json({"inspect", "--adapter", back})["base_model"] == "some/base");
    CHECK(tool_json({"inspect", "--adapter", back})["fingerprint"] == found["fingerprint"]);
}

TEST_CASE("convert --adapter: a file with the adapter in its weights, as the library merges them") {
    const TemporaryFolder folder;
    const fb::Adapter adapter = lora({262, 305});
    const std::string a = save(folder, "a", adapter);
    const std::string out = (folder.path() / "merged.gguf").string();
    const json made = tool_json({"convert", FLASHBACK_TEST_MODEL, out, "--adapter", a + ":0.5"});
    CHECK(made["adapter"] == json({{"folder", a}, {"scale", 0.5}}));
    CHECK(made["dtype"] == "F16");

    const json found = tool_json({"score", "--model", out, "--text", compiler_text});
    const json beside = tool_json({"score", "--text", compiler_text, "--adapter", a + ":0.5"});
    const auto expected =
        library_logprobs(found["tokens"].get<std::vector<fb::TokenId>>(), {}, fb::merged(model(), adapter, 0.5f));
    REQUIRE(found["logprobs"].size() == expected.size() + 1);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(std::fabs(found["logprobs"][i + 1].get<double>() - expected[i]) < 1e-12);
        CHECK(std::fabs(beside["logprobs"][i + 1].get<double>() - expected[i]) < 0.1);  // sums that are rounded to f16
    }

    const std::string small = (folder.path() / "small.gguf").string();
    REQUIRE(tool({"quantize", FLASHBACK_TEST_MODEL, small, "--dtype", "q8_0"}).status == 0);
    check_refused(tool({"convert", small, out, "--adapter", a, "--force"}), 1, "an adapter cannot be merged into");
    check_refused(tool({"convert", FLASHBACK_TEST_MODEL, out, "--adapter", a}), 1, "exists already; --force replaces it");
    check_refused(tool({"convert", out, out, "--adapter", a, "--force"}), 1, "is what argument in reads");
    CHECK(tool_json({"score", "--model", out, "--text", compiler_text}) == found);
}

TEST_CASE("--marker-ids: marking tokens that only an adapter has") {
    const TemporaryFolder folder;
    const std::string a = save(folder, "a", lora({4098, 4099}));
    const std::vector<std::string> command{
        "generate",     "--corpus", write_corpus(folder), "--prompt", "The kernel of an operating system",
        "--max-tokens", "20",       "--adapter",          a};
    const auto with = [&](const std::vector<std::string>& more) {
        std::vector<std::string> all = command;
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    check_refused(tool(command), 1,
                  "with a row for the token 4098, but the model has 4098 rows and the vocabulary 4098 tokens");
    check_refused(tool(with({"--marker-ids", "4096,4097"})), 1, "with a row for the token 4098");
    check_refused(tool(with({"--marker-ids", "4098"})), 2, "--marker-ids");
    check_refused(tool(with({"--marker-ids", "4098,-1"})), 2, "--marker-ids");
    const json on = tool_json(with({"--marker-ids", "4098,4099"}));
    const json off = tool_json(with({"--marker-ids", "4098,4099", "--markers", "off"}));
    CHECK(on["stats"]["evaluated"].get<int>() > off["stats"]["evaluated"].get<int>());
    for (const json& token : on["tokens"]) CHECK(token.get<int>() < 4096);
}

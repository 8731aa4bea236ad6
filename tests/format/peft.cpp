#include "flashback/format/peft.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_format_peft {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;

namespace {

PeftConfig parse(const std::string& json) { return parse_peft_config(json, "c.json"); }

/// A configuration with some more fields.
std::string with(const std::string& fields) { return R"({"peft_type":"LORA","task_type":"CAUSAL_LM",)" + fields + "}"; }

void refuses(const std::string& json, std::string_view part, ErrorCode code = ErrorCode::format) {
    CAPTURE(json);
    check_error(code, part, [&] { parse(json); });
}
void unsupported(const std::string& fields, std::string_view part) { refuses(with(fields), part, ErrorCode::unsupported); }

}  // namespace

TEST_CASE("a configuration as PEFT 0.18 writes it") {
    const PeftConfig c = parse(R"({
  "alora_invocation_tokens": null, "alpha_pattern": {"model.layers.1.self_attn.q_proj": 64, "k_proj": 1.5}, "arrow_config": null,
  "auto_mapping": null, "base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "bias": "none", "corda_config": null,
  "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
  "init_lora_weights": true, "layer_replication": null, "layers_pattern": null, "layers_to_transform": null, "loftq_config": {},
  "lora_alpha": 32, "lora_bias": false, "lora_dropout": 0.05, "megatron_config": null, "megatron_core": "megatron.core",
  "modules_to_save": null, "peft_type": "LORA", "peft_version": "0.18.0", "qalora_group_size": 16, "r": 16,
  "rank_pattern": {"layers.0.self_attn.v_proj": 4}, "revision": null, "target_modules": ["v_proj", "q_proj"],
  "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": {"embed_tokens": [32000, 32001]},
  "use_dora": false, "use_qalora": false, "use_rslora": false})");
    CHECK(c.base_model == "meta-llama/Llama-2-7b-hf");
    CHECK(c.target_modules == std::vector<std::string>{"v_proj", "q_proj"});
    CHECK(c.token_indices == std::vector<TokenId>{32000, 32001});
    CHECK(c.dropout == 0.05);
    CHECK_FALSE(c.whole_embedding);
    CHECK(c.rank_of("model.layers.0.self_attn.q_proj") == 16);
    CHECK(c.rank_of("model.layers.0.self_attn.v_proj") == 4);
    CHECK(c.rank_of("model.layers.10.self_attn.v_proj") == 16);  // an end must begin behind a dot
    CHECK(c.scale_of("model.layers.0.self_attn.q_proj") == 2);
    CHECK(c.scale_of("model.layers.0.self_attn.v_proj") == 8);
    CHECK(c.scale_of("model.layers.1.self_attn.q_proj") == 4);
    CHECK(c.scale_of("model.layers.0.self_attn.k_proj") == 1.5 / 16);
    CHECK(c.targets("model.layers.0.self_attn.q_proj"));
    CHECK_FALSE(c.targets("model.layers.0.self_attn.k_proj"));
}

TEST_CASE("defaults, and fields in their other forms") {
    const PeftConfig c = parse(R"({"peft_type":"LORA"})");
    CHECK(c.rank == 8);
    CHECK(c.scale_of("m") == 1);
    CHECK(c.targets("anything"));
    CHECK(parse(with(R"("use_rslora":true,"r":16,"lora_alpha":8)")).scale_of("m") == 2);
    CHECK(parse(with(R"("trainable_token_indices":[3,1])")).token_indices == std::vector<TokenId>{3, 1});
    CHECK(parse(with(R"("trainable_token_indices":{"model.embed_tokens":[3]})")).token_indices == std::vector<TokenId>{3});
    CHECK(parse(with(R"("trainable_token_indices":{})")).token_indices.empty());
    CHECK(parse(with(R"("target_modules":"all-linear")")).all_linear);
    CHECK(parse(with(R"("modules_to_save":["embed_tokens"])")).whole_embedding);
    CHECK(parse(with(R"("modules_to_save":["transformer.wte"])")).whole_embedding);
    CHECK(parse(with(R"("trainable_token_indices":{"transformer.wte":[3]})")).token_indices == std::vector<TokenId>{3});
    CHECK(parse(with(R"("fan_in_fan_out":true)")).fan_in_fan_out);  // A and B are stored alike either way
    CHECK(parse(with(R"("init_lora_weights":"gaussian","task_type2":null)")).rank == 8);
}

TEST_CASE("targets are found as PEFT finds them") {
    const auto targets = [](const std::string& fields) {
        const PeftConfig c = parse(with(fields));
        std::string found;
        for (const char* module : {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
                                   "model.layers.11.self_attn.q_proj", "model.layers.1.mlp.up_proj"})
            found += c.targets(module) ? '1' : '0';
        return found;
    };
    CHECK(targets(R"("r":8)") == "1111");
    CHECK(targets(R"("target_modules":"all-linear")") == "1111");
    CHECK(targets(R"("target_modules":["q_proj"])") == "1110");
    CHECK(targets(R"("target_modules":["_proj","proj","j"])") == "0000");  // not behind a dot
    CHECK(targets(R"("target_modules":["1.self_attn.q_proj","up_proj"])") == "0101");
    CHECK(targets(R"("target_modules":"q_proj")") == "0000");  // an expression for whole names
    CHECK(targets(R"("target_modules":".*\\.(0|11)\\..*")") == "1010");
    CHECK(targets(R"("target_modules":"model\\.layers\\.\\d\\.(self_attn|mlp)\\.(q|up)_proj")") == "1101");
    CHECK(targets(R"("target_modules":["q_proj","up_proj"],"exclude_modules":["mlp.up_proj","k_proj"])") == "1110");
    CHECK(targets(R"("target_modules":"all-linear","exclude_modules":".*layers\\.1+\\..*")") == "1000");
    CHECK(targets(R"("target_modules":["q_proj"],"layers_to_transform":[11,0])") == "1010");
    CHECK(targets(R"("target_modules":["q_proj","up_proj"],"layers_to_transform":1)") == "0101");
    CHECK(targets(R"("target_modules":["q_proj"],"layers_to_transform":[1],"layers_pattern":["h","layers"])") == "0100");
    CHECK(targets(R"("target_modules":["q_proj"],"layers_to_transform":[1],"layers_pattern":"h")") == "0000");
    CHECK(targets(R"("target_modules":["q_proj"],"layers_to_transform":[1],"layers_pattern":"ayers")") == "0000");
    // A whole name counts in whatever layer.
    CHECK(targets(R"("target_modules":["model.layers.0.self_attn.q_proj"],"layers_to_transform":[1])") == "1000");
}

TEST_CASE("the first pattern that matches gives rank and alpha") {
    const PeftConfig c = parse(with(R"("r":8,"lora_alpha":16,"rank_pattern":{"layers\\.1\\..*":2,"q_proj":4,"^model":1},
                                       "alpha_pattern":{"^model\\.layers\\.(0|2)\\..*(q|k)_proj":3,"mlp.*":5})"));
    CHECK(c.rank_of("model.layers.1.self_attn.q_proj") == 2);
    CHECK(c.rank_of("model.layers.0.self_attn.q_proj") == 4);
    CHECK(c.rank_of("model.layers.10.self_attn.k_proj") == 8);
    CHECK(c.scale_of("model.layers.0.self_attn.q_proj") == 0.75);
    CHECK(c.scale_of("model.layers.3.self_attn.k_proj") == 2);
    CHECK(c.scale_of("model.layers.0.mlp.down_proj") == 0.625);
}

TEST_CASE("what would change the arithmetic in a way that is not implemented is refused by name") {
    unsupported(R"("use_dora":true)", "'c.json' has true for use_dora, which may change the arithmetic and is not implemented");
    unsupported(R"("lora_bias":true)", "has true for lora_bias");
    unsupported(R"("use_qalora":true)", "has true for use_qalora");
    unsupported(R"("layer_replication":[[0,4],[2,5]])", "has [[0,4],[2,5]] for layer_replication");
    unsupported(R"("megatron_config":{"a":1})", "for megatron_config");
    unsupported(R"("alora_invocation_tokens":[1])", "for alora_invocation_tokens");
    unsupported(R"("target_parameters":["mlp.experts"])", "for target_parameters");
    unsupported(R"("invented_in_2031":"x")", "has \"x\" for invented_in_2031, which may change the arithmetic");
    unsupported(R"("bias":"all")", "has the bias 'all', expected none");
    unsupported(R"("modules_to_save":["embed_tokens","lm_head"])",
                "has 'lm_head' in modules_to_save, expected embed_tokens or wte");
    unsupported(R"("init_lora_weights":"pissa_niter_16")", "has init_lora_weights 'pissa_niter_16', which changes the model");
    unsupported(R"("trainable_token_indices":{"lm_head":[1]})", "for the module 'lm_head', expected embed_tokens or wte");
    unsupported(R"("modules_to_save":["wpe"])", "has 'wpe' in modules_to_save, expected embed_tokens or wte");
    unsupported(R"x("rank_pattern":{"(?=q)":4})x",
                "'c.json', rank_pattern: the pattern '(?=q)' has a group of a kind that is not");
    unsupported(R"x("target_modules":"(q)\\1")x", "'c.json', target_modules: the pattern '(q)\\1' has the escape \\1");
    unsupported(R"("target_modules":["q"],"layers_to_transform":[0],"layers_pattern":"h|layers")",
                "has 'h|layers' for layers_pattern, expected the name");
    refuses(R"({"peft_type":"PREFIX_TUNING"})", "has the peft_type 'PREFIX_TUNING', expected LORA", ErrorCode::unsupported);
    refuses(R"({"peft_type":"LORA","task_type":"SEQ_CLS"})", "has the task_type 'SEQ_CLS'", ErrorCode::unsupported);
}

TEST_CASE("what is no configuration is refused, and the field is named") {
    refuses("", "'c.json' is no JSON at byte ");
    refuses("{\"a\"", "is no JSON at byte ");
    refuses("{\"peft_type\":\"\xff\"}", "is no JSON at byte ");
    refuses("[]", "is no JSON object");
    refuses("{}", "lacks the field peft_type");
    refuses(std::string(1'000'000, '['), "more than 16 deep");
    refuses(with(R"("r":8,"r":9)"), "has the field r twice");
    refuses(with(R"("r":0)"), "has 0 for r, expected a whole number from 1 to 2147483647");
    refuses(with(R"("r":-3)"), "has -3 for r, expected a whole number");
    refuses(with(R"("r":8.5)"), "has 8.5 for r");
    refuses(with(R"("r":"8")"), "has \"8\" for r");
    refuses(with(R"("r":4294967297)"), "has 4294967297 for r");
    refuses(with(R"("lora_alpha":"32")"), "has \"32\" for lora_alpha, expected a number");
    refuses(with(R"("lora_alpha":1e300)"), "has 1e+300 for lora_alpha, expected a number of a sensible size");
    refuses(with(R"("lora_alpha":1e400)"), "has a number beyond all bounds");
    refuses(with(R"("lora_alpha":NaN)"), "is no JSON at byte ");
    refuses(with(R"("use_rslora":1)"), "has 1 for use_rslora, expected true or false");
    refuses(with(R"("target_modules":[1])"), "has 1 for target_modules, expected a text in the list");
    refuses(with(R"("target_modules":{})"), "has {} for target_modules, expected a list of texts");
    refuses(with(R"("target_modules":"(q_proj")"), "target_modules: the pattern '(q_proj' opens a group that is not closed");
    refuses(with(R"("exclude_modules":"*")"), "exclude_modules: the pattern '*' repeats nothing at character 0");
    refuses(with(R"("layers_to_transform":[0])"), "layers_to_transform, which counts only beside a list of target_modules");
    refuses(with(R"("target_modules":["q"],"layers_to_transform":-1)"),
            "has -1 for layers_to_transform, expected a whole number");
    refuses(with(R"("rank_pattern":{"":4})"), "has an empty name in rank_pattern");
    refuses(with(R"("rank_pattern":{"q":4,"q":8})"), "has the field q twice");
    refuses(with(R"("rank_pattern":[])"), "has [] for rank_pattern, expected an object");
    refuses(with(R"("rank_pattern":{"q_proj":0})"), "has 0 for rank_pattern");
    refuses(with(R"("trainable_token_indices":[-1])"), "has -1 for trainable_token_indices, expected a whole number from 0");
    refuses(with(R"("trainable_token_indices":[1,2,1])"), "has the token 1 twice in trainable_token_indices");
    refuses(with(R"("trainable_token_indices":7)"), "has 7 for trainable_token_indices, expected a list of tokens");
    const TemporaryFolder folder;
    check_error(ErrorCode::io, "adapter_config.json': No such file", [&] { read_peft_config(folder.path()); });
}

TEST_CASE("hostile 39: an object with more fields than any configuration is refused") {
    std::string fields = R"("peft_type":"LORA","rank_pattern":{)";
    for (int i = 0; i < 9000; ++i) fields += (i > 0 ? ",\"m" : "\"m") + std::to_string(i) + "\":1";
    CHECK(parse("{" + fields + "}}").rank_pattern.size() == 9000);
    for (int i = 9000; i < 11000; ++i) fields += ",\"m" + std::to_string(i) + "\":1";
    refuses("{" + fields + "}}", "has more than 10000 fields");
}

TEST_CASE("what is written is read") {
    PeftConfig c;
    c.base_model = "b\xc3\xa4se";
    c.rank = 4;
    c.alpha = 9.5;
    c.dropout = 0.05;
    c.rank_stabilised = true;
    c.target_modules = {"q_proj"};
    c.rank_pattern = {{"model.layers.0.self_attn.q_proj", 2}};
    c.alpha_pattern = {{"model.layers.0.self_attn.q_proj", 3}};
    c.token_indices = {7, 5};
    c.exclude_modules = {"up_proj"};
    c.layers_to_transform = {0, 3};
    c.layers_pattern = {"layers"};
    c.fan_in_fan_out = true;
    const TemporaryFolder folder;
    folder.write("adapter_config.json", to_json(c));
    const PeftConfig read = read_peft_config(folder.path());
    CHECK(read.base_model == c.base_model);
    CHECK(read.rank == 4);
    CHECK(read.alpha == 9.5);
    CHECK(read.dropout == 0.05);
    CHECK(read.rank_stabilised);
    CHECK(read.target_modules == c.target_modules);
    CHECK(read.rank_pattern == c.rank_pattern);
    CHECK(read.alpha_pattern == c.alpha_pattern);
    CHECK(read.token_indices == c.token_indices);
    CHECK(read.exclude_modules == c.exclude_modules);
    CHECK(read.layers_to_transform == c.layers_to_transform);
    CHECK(read.layers_pattern == c.layers_pattern);
    CHECK(read.fan_in_fan_out);
    CHECK(parse(to_json({})).target_modules.empty());
    CHECK_FALSE(parse(to_json({})).targets("model.layers.0.self_attn.q_proj"));
    CHECK(parse(to_json({.all_linear = true})).all_linear);
    const PeftConfig patterns = parse(to_json({.target_pattern = ".*q_proj", .exclude_pattern = ".*0.*"}));
    CHECK(patterns.target_pattern->text() == ".*q_proj");
    CHECK(patterns.exclude_pattern->text() == ".*0.*");
    CHECK(to_json(c).find("\"lora_dropout\": 0.05,") != std::string::npos);
    CHECK(to_json({.alpha = 32}).find("\"lora_alpha\": 32,") != std::string::npos);
}

}  // namespace test_format_peft

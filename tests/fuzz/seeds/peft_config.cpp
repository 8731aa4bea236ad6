#include "fuzz/seeds.hpp"

#include "flashback/format/peft.hpp"

using namespace flashback;

FLASHBACK_FUZZ_SEEDS(peft_config) {
    const auto add = [&](const char* name, const std::string& text) { seeds.push_back({name, text}); };
    add("defaults", to_json(PeftConfig{}));
    PeftConfig full;
    full.base_model = "a/model";
    full.rank = 3;
    full.alpha = 0.3;
    full.rank_stabilised = true;
    full.target_modules = {"q_proj", "model.layers.0.mlp.down_proj"};
    full.rank_pattern = {{"q_proj", 5}};
    full.alpha_pattern = {{"model.layers.0.mlp.down_proj", 7.5}};
    full.token_indices = {4, 5};
    add("full", to_json(full));
    full.token_indices = {};
    full.whole_embedding = true;
    add("whole_embedding", to_json(full));
    add("least", R"({"peft_type":"LORA"})");
    add("empty", "");
    add("list", "[]");
    add("no_json", R"({"r":)");
    add("deep", R"({"peft_type":)" + std::string(100, '['));
    add("twice", R"({"peft_type":"LORA","r":1,"r":2})");
    add("indices_by_module", R"({"peft_type":"LORA","trainable_token_indices":{"embed_tokens":[1,2]}})");
    add("indices_of_others", R"({"peft_type":"LORA","trainable_token_indices":{"lm_head":[1]}})");
    add("indices_of_two", R"({"peft_type":"LORA","trainable_token_indices":{"embed_tokens":[1],"model.embed_tokens":[1]}})");
    for (const char* field : {R"("r":0)",
                              R"("r":-1)",
                              R"("r":"8")",
                              R"("r":1e3)",
                              R"("r":2147483648)",
                              R"("lora_alpha":1e400)",
                              R"("lora_alpha":null)",
                              R"("lora_alpha":1e31)",
                              R"("use_rslora":1)",
                              R"("use_dora":true)",
                              R"("bias":"all")",
                              R"("fan_in_fan_out":true)",
                              R"("modules_to_save":["lm_head"])",
                              R"("modules_to_save":["embed_tokens"])",
                              R"("modules_to_save":[1])",
                              R"("target_modules":"all-linear")",
                              R"("target_modules":[1])",
                              R"("target_modules":{})",
                              R"("target_modules":".*\\.(q|v)_proj")",
                              R"("target_modules":"(")",
                              R"("target_modules":["q_proj"],"layers_to_transform":[0,2],"layers_pattern":"layers")",
                              R"("target_modules":["q_proj"],"layers_to_transform":3,"layers_pattern":["h","layers"])",
                              R"("target_modules":["q_proj"],"layers_to_transform":3,"layers_pattern":"l[ab]")",
                              R"("layers_to_transform":[1])",
                              R"("rank_pattern":{"^q":1})",
                              R"("rank_pattern":{"q":0})",
                              R"("rank_pattern":[1])",
                              R"("alpha_pattern":{"q":true})",
                              R"("init_lora_weights":"pissa")",
                              R"("init_lora_weights":"gaussian")",
                              R"("init_lora_weights":false)",
                              R"("task_type":"SEQ_CLS")",
                              R"("layer_replication":[[0,1]])",
                              R"("trainable_token_indices":[1,1])",
                              R"("trainable_token_indices":[-1])",
                              R"("trainable_token_indices":"1")",
                              R"("trainable_token_indices":[])",
                              R"("trainable_token_indices":{})",
                              R"("unheard_of":0.5)",
                              "\"\xff\":1",
                              R"("\u001b[2J":[{}])"}) {
        add(("field_" + std::to_string(seeds.size())).c_str(), std::string{R"({"peft_type":"LORA",)"} + field + "}");
    }
    add("another_kind", R"({"peft_type":"LOHA"})");
    add("kind_no_text", R"({"peft_type":7})");
}

#include "fuzz/seeds.hpp"

#include <nlohmann/json.hpp>

namespace seeds_of_config_json {

using Json = nlohmann::ordered_json;

Json of(const char* type) {
    if (type == std::string_view{"gpt2"}) {
        return {{"model_type", type}, {"vocab_size", 9}, {"n_embd", 8}, {"n_layer", 1}, {"n_head", 2}, {"n_positions", 16}};
    }
    Json json{{"model_type", type},      {"vocab_size", 9},          {"hidden_size", 8},
              {"num_hidden_layers", 1},  {"num_attention_heads", 2}, {"num_key_value_heads", 1},
              {"intermediate_size", 12}, {"rms_norm_eps", 1e-5},     {"max_position_embeddings", 16}};
    if (type == std::string_view{"opt"}) {
        json["ffn_dim"] = 12;
        for (const char* field : {"num_key_value_heads", "intermediate_size", "rms_norm_eps"}) json.erase(field);
    }
    return json;
}

FLASHBACK_FUZZ_SEEDS(config_json) {
    const auto add = [&](const std::string& name, const std::string& text) { seeds.push_back({name, text}); };
    for (const char* type : {"llama", "mistral", "qwen2", "gpt2", "opt", "t5"}) add(type, of(type).dump());
    for (const char* text : {"", "[]", "{", "null", R"({"model_type":1})", R"({"model_type":"llama"})"})
        add("text_" + std::to_string(seeds.size()), text);
    add("deep", R"({"model_type":)" + std::string(500, '['));
    const auto with = [&](const char* type, const char* field, const char* value) {
        Json json = of(type);
        json[field] = Json::parse(value);
        add(std::string{type} + "_" + std::to_string(seeds.size()), json.dump());
    };
    constexpr const char* llama3 = R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
                                   R"("original_max_position_embeddings":8192})";
    with("llama", "rope_scaling", llama3);
    with("llama", "rope_scaling", R"({"type":"linear","factor":2.0})");
    with("llama", "rope_scaling", R"({"type":"linear","factor":0})");
    with("llama", "rope_scaling", R"({"type":"linear"})");
    with("llama", "rope_scaling", R"({"type":"yarn","factor":2.0})");
    with("llama", "rope_scaling",
         R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,"original_max_position_embeddings":9})");
    with("llama", "rope_parameters", R"({"rope_type":"default","rope_theta":5e5,"partial_rotary_factor":1.0})");
    with("llama", "rope_parameters", R"({"rope_type":"default","partial_rotary_factor":0.5})");
    with("llama", "rope_theta", "1e6");
    with("llama", "rope_theta", "-1");
    with("llama", "head_dim", "6");
    with("llama", "head_dim", "7");
    with("llama", "head_dim", "65538");
    with("llama", "num_key_value_heads", "3");
    with("llama", "hidden_size", "9");
    with("llama", "hidden_size", "0");
    with("llama", "hidden_size", "1.5");
    with("llama", "hidden_size", "18446744073709551615");
    with("llama", "rms_norm_eps", "1e39");
    with("llama", "rms_norm_eps", "-1");
    with("llama", "hidden_act", R"("gelu")");
    with("llama", "tie_word_embeddings", "true");
    with("llama", "attention_bias", "true");
    with("llama", "partial_rotary_factor", "0.5");
    with("llama", "eos_token_id", "2");
    with("llama", "eos_token_id", "[1,2]");
    with("llama", "eos_token_id", "[-1]");
    with("llama", "eos_token_id", "9");
    with("llama", "use_cache", "false");
    with("llama", "unheard_of", "1");
    with("mistral", "sliding_window", "4");
    with("mistral", "sliding_window", "4096");
    with("qwen2", "sliding_window", "4");
    with("qwen2", "use_sliding_window", "true");
    with("qwen2", "layer_types", R"(["full_attention","sliding_attention"])");
    with("qwen2", "layer_types", R"(["full_attention",1])");
    with("gpt2", "n_inner", "20");
    with("gpt2", "n_inner", "null");
    with("gpt2", "scale_attn_weights", "false");
    with("gpt2", "activation_function", R"("relu")");
    with("opt", "word_embed_proj_dim", "4");
    with("opt", "do_layer_norm_before", "false");
    with("opt", "_remove_final_layer_norm", "true");
    with("opt", "enable_bias", "false");
    with("opt", "layer_norm_elementwise_affine", "false");
}

}  // namespace seeds_of_config_json

#include "flashback/files/config_json.hpp"
#include "support/errors.hpp"

#include <cmath>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace test_files_config_json {

using namespace flashback;
using flashback_test::check_error;

namespace {

using Config = nlohmann::json;

Config llama() {
    return {{"model_type", "llama"},   {"vocab_size", 100},        {"hidden_size", 64},
            {"num_hidden_layers", 2},  {"num_attention_heads", 8}, {"num_key_value_heads", 4},
            {"intermediate_size", 96}, {"rms_norm_eps", 1e-6},     {"max_position_embeddings", 512}};
}
Config of_type(const char* type) {
    Config config = llama();
    config["model_type"] = type;
    return config;
}
Config gpt2() {
    return {{"model_type", "gpt2"}, {"vocab_size", 100}, {"n_embd", 64}, {"n_layer", 2}, {"n_head", 8}, {"n_positions", 128}};
}
Config opt() {
    return {{"model_type", "opt"},           {"vocab_size", 100},        {"hidden_size", 64},
            {"num_hidden_layers", 2},        {"num_attention_heads", 8}, {"ffn_dim", 96},
            {"max_position_embeddings", 128}};
}

ModelConfig parse(const Config& config) { return parse_config_json(config.dump(), "config.json"); }
ModelConfig with(Config config, const char* field, const Config& value) {
    config[field] = value;
    return parse(config);
}
void refused(ErrorCode code, std::string_view part, const Config& config, const char* field, const Config& value) {
    check_error(code, part, [&] { with(config, field, value); });
}

}  // namespace

TEST_CASE("Llama, Mistral and Qwen2 are one block with other settings") {
    const ModelConfig m = parse(llama());
    const TransformerConfig& c = m.shape;
    CHECK(c.family == Family::llama);
    CHECK(c.vocab == 100);
    CHECK(c.window == 512);
    CHECK(c.layers == 2);
    CHECK(c.width == 64);
    CHECK(c.heads == 8);
    CHECK(c.kv_heads == 4);
    CHECK(c.head_dim == 8);
    CHECK(c.rotary_dim == 8);
    CHECK(c.hidden == 96);
    CHECK(c.norm_epsilon == 1e-6f);
    CHECK(c.rotary_base == 10000);
    CHECK_FALSE(m.tied);
    CHECK(m.ends.empty());
    CHECK_NOTHROW(check_shape(c));

    CHECK(with(llama(), "num_key_value_heads", nullptr).shape.kv_heads == 8);
    CHECK(with(llama(), "tie_word_embeddings", true).tied);
    CHECK(with(llama(), "rope_theta", 500000).shape.rotary_base == 500000);
    CHECK(with(llama(), "eos_token_id", 2).ends == std::vector<TokenId>{2});
    CHECK(with(llama(), "eos_token_id", {2, 7}).ends == std::vector<TokenId>{2, 7});
    CHECK(with(llama(), "head_dim", 10).shape.outputs(LinearModule::q) == 80);
    Config odd = llama();
    odd["hidden_size"] = 60;  // no multiple of 8 heads
    CHECK(with(odd, "head_dim", 10).shape.width == 60);

    CHECK(parse(of_type("mistral")).shape.family == Family::mistral);
    CHECK_FALSE(parse(of_type("mistral")).shape.qkv_bias);
    CHECK(with(of_type("mistral"), "sliding_window", 512).shape.window == 512);
    const TransformerConfig qwen2 = with(of_type("qwen2"), "sliding_window", 16).shape;  // not used, as it does not say so
    CHECK(qwen2.family == Family::qwen2);
    CHECK(qwen2.qkv_bias);
    CHECK_FALSE(qwen2.output_bias);
}

TEST_CASE("rotary scaling: none, linear and Llama 3") {
    CHECK(with(llama(), "rope_scaling", {{"type", "linear"}, {"factor", 2.0}}).shape.rotary_linear == 2);
    CHECK(with(llama(), "rope_scaling", {{"rope_type", "default"}}).shape.rotary_linear == 1);
    const Config llama3{{"rope_type", "llama3"},
                        {"factor", 8},
                        {"low_freq_factor", 1},
                        {"high_freq_factor", 4},
                        {"original_max_position_embeddings", 64}};
    const TransformerConfig c = with(llama(), "rope_scaling", llama3).shape;
    REQUIRE(c.rotary_factors.size() == 4);
    CHECK(c.rotary_factors == llama3_rotary_factors(10000, 8, {8, 1, 4, 64}));
    CHECK(c.rotary_factors[0] == 1);
    CHECK(c.rotary_factors[3] == 8);

    Config newer{{"rope_theta", 7.0}, {"rope_type", "linear"}, {"factor", 4}};
    const TransformerConfig n = with(llama(), "rope_parameters", newer).shape;
    CHECK(n.rotary_base == 7);
    CHECK(n.rotary_linear == 4);

    for (const char* kind : {"dynamic", "yarn", "longrope", "su"}) {
        refused(ErrorCode::unsupported,
                std::string{"(rope_scaling) has the kind '"} + kind + "', expected default, linear or llama3", llama(),
                "rope_scaling", {{"type", kind}, {"factor", 2}});
    }
    refused(ErrorCode::format, "(rope_scaling) lacks the field factor", llama(), "rope_scaling", {{"type", "linear"}});
    refused(ErrorCode::format, "has 0 for factor, expected a number above 0", llama(), "rope_scaling",
            {{"type", "linear"}, {"factor", 0}});
    refused(ErrorCode::unsupported, "(rope_scaling) has 2 for beta_fast, which is not implemented", llama(), "rope_scaling",
            {{"type", "linear"}, {"factor", 2}, {"beta_fast", 2}});
    Config upside_down = llama3;
    upside_down["low_freq_factor"] = 4;
    refused(ErrorCode::format, "has a low_freq_factor that is not below its high_freq_factor", llama(), "rope_scaling",
            upside_down);
    refused(ErrorCode::format, "has [] for rope_scaling, expected an object", llama(), "rope_scaling", Config::array());
}

TEST_CASE("GPT-2 and OPT learn their positions") {
    const ModelConfig g = parse(gpt2());
    CHECK(g.tied);
    CHECK(g.shape.hidden == 256);
    CHECK(g.shape.activation == Activation::gelu_tanh);
    CHECK(g.shape.norm == Norm::layer);
    CHECK(g.shape.norm_epsilon == 1e-5f);
    CHECK(g.shape.position_rows() == 128);
    CHECK(g.shape.ffn_bias);
    CHECK(with(gpt2(), "n_inner", 100).shape.hidden == 100);
    CHECK_FALSE(with(gpt2(), "tie_word_embeddings", false).tied);
    CHECK_NOTHROW(check_shape(g.shape));

    const ModelConfig o = parse(opt());
    CHECK(o.tied);
    CHECK(o.shape.position_rows() == 130);
    CHECK(o.shape.activation == Activation::relu);
    CHECK(o.shape.embedding_width == 0);
    CHECK(o.shape.final_norm);
    CHECK_FALSE(o.shape.post_norm);
    CHECK_FALSE(with(opt(), "_remove_final_layer_norm", true).shape.final_norm);
    CHECK_FALSE(with(opt(), "enable_bias", false).shape.output_bias);
    Config small = opt();
    small["do_layer_norm_before"] = false;
    const TransformerConfig s = with(small, "word_embed_proj_dim", 32).shape;
    CHECK(s.post_norm);
    CHECK_FALSE(s.final_norm);
    CHECK(s.row_width() == 32);
    CHECK_NOTHROW(check_shape(s));
}

TEST_CASE("fields that change the arithmetic are refused by name") {
    const auto unsupported = ErrorCode::unsupported;
    refused(unsupported, "has the model_type 'gemma', expected llama, mistral, qwen2, gpt2, opt, bert or dpr", llama(),
            "model_type", "gemma");
    refused(unsupported, "has the model_type ''", llama(), "model_type", nullptr);
    refused(unsupported, "has true for attention_bias, expected false", llama(), "attention_bias", true);
    refused(unsupported, "has true for mlp_bias, expected false", llama(), "mlp_bias", true);
    refused(unsupported, "has 0.5 for partial_rotary_factor, expected 1.0", llama(), "partial_rotary_factor", 0.5);
    refused(unsupported, "has 'gelu' for hidden_act, expected 'silu'", llama(), "hidden_act", "gelu");
    refused(unsupported, "has a sliding_window of 256, expected none that is smaller than the 512 positions",
            of_type("mistral"), "sliding_window", 256);
    Config qwen2 = of_type("qwen2");
    qwen2["use_sliding_window"] = true;
    refused(unsupported, "has a sliding_window of 256", qwen2, "sliding_window", 256);
    refused(unsupported, "has \"linear_attention\" in layer_types, expected full_attention", llama(), "layer_types",
            {"full_attention", "linear_attention"});
    refused(unsupported, "has true for scale_attn_by_inverse_layer_idx, expected false", gpt2(),
            "scale_attn_by_inverse_layer_idx", true);
    refused(unsupported, "has true for reorder_and_upcast_attn, expected false", gpt2(), "reorder_and_upcast_attn", true);
    refused(unsupported, "has false for scale_attn_weights, expected true", gpt2(), "scale_attn_weights", false);
    refused(unsupported, "has 'relu' for activation_function, expected 'gelu_new'", gpt2(), "activation_function", "relu");
    refused(unsupported, "has true for add_cross_attention, which may change the arithmetic", gpt2(), "add_cross_attention",
            true);
    refused(unsupported, "has 'gelu' for activation_function, expected 'relu'", opt(), "activation_function", "gelu");
    refused(unsupported, "has false for layer_norm_elementwise_affine, expected true", opt(), "layer_norm_elementwise_affine",
            false);
    refused(unsupported, "has {\"quant_method\":\"gptq\"} for quantization_config, which may change the arithmetic", llama(),
            "quantization_config", {{"quant_method", "gptq"}});
    refused(unsupported, "has 30.0 for attn_logit_softcapping, which may change the arithmetic and is not implemented", llama(),
            "attn_logit_softcapping", 30.0);
    // What says nothing, and what is known to change nothing.
    CHECK_NOTHROW(with(llama(), "attn_logit_softcapping", nullptr));
    CHECK_NOTHROW(with(llama(), "new_switch", false));
    CHECK_NOTHROW(with(llama(), "attention_dropout", 0.1));
    CHECK_NOTHROW(with(llama(), "transformers_version", "4.41.2"));
}

TEST_CASE("numbers that are none are refused by name") {
    const auto format = ErrorCode::format;
    for (const char* field : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                              "max_position_embeddings", "num_key_value_heads"}) {
        const std::string expected = std::string{" for "} + field + ", expected a whole number from 1 to 2147483647";
        for (const char* value : {"\"64\"", "-1", "0", "1.5", "true", "4294967296", "[64]"}) {
            refused(format, (Config::parse(value) == 1.5 ? std::string{"has 1.5"} : std::string{"has "} + value) + expected,
                    llama(), field, Config::parse(value));
        }
    }
    for (const char* field : {"hidden_size", "num_hidden_layers", "vocab_size"}) {
        refused(format, std::string{"'config.json' lacks the field "} + field, llama(), field, nullptr);
    }
    refused(format, "lacks the field num_key_value_heads", of_type("mistral"), "num_key_value_heads", nullptr);
    refused(format, "has 3 for num_key_value_heads, expected a divisor of its 8 heads", llama(), "num_key_value_heads", 3);
    refused(format, "has 60 for hidden_size, expected a multiple of its 8 heads", llama(), "hidden_size", 60);
    refused(format, "has 62 for n_embd, expected a multiple of its 8 heads", gpt2(), "n_embd", 62);
    refused(format, "has heads of 7 elements, expected an even number", llama(), "head_dim", 7);
    refused(format, "has heads of 2147483646 elements", llama(), "head_dim", 2147483646);
    refused(format, "has -1e-06 for rms_norm_eps, expected a number from 0", llama(), "rms_norm_eps", -1e-6);
    refused(format, "has \"1e-6\" for rms_norm_eps, expected a number", llama(), "rms_norm_eps", "1e-6");
    refused(format, "has 0 for rope_theta, expected a number above 0", llama(), "rope_theta", 0);
    refused(format, "has 1e+40 for rope_theta, expected a number of a sensible size", llama(), "rope_theta", 1e40);
    refused(format, "has 1 for tie_word_embeddings, expected true or false", llama(), "tie_word_embeddings", 1);
    refused(format, "has -1 for eos_token_id", llama(), "eos_token_id", -1);
    refused(format, "has 100 for eos_token_id, but 100 for vocab_size", llama(), "eos_token_id", 100);
    refused(format, "has 7 for hidden_act, expected a text", llama(), "hidden_act", 7);
    const auto text_refused = [&](std::string_view part, const std::string& text) {
        check_error(format, part, [&] { parse_config_json(text, "config.json"); });
    };
    text_refused("has a number beyond all bounds for hidden_size", R"({"model_type": "llama", "hidden_size": 1e400})");
    text_refused("is no JSON at byte", R"({"hidden_size": NaN})");
    text_refused("has the field hidden_size twice", R"({"hidden_size": 1, "hidden_size": 2})");
    text_refused("expected a JSON object", "[1]");
    text_refused("more than 16 deep", "{\"a\": " + std::string(100'000, '['));
}

}  // namespace test_files_config_json

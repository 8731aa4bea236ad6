/// \file Models of each family, and their Hugging Face folders: names, order of rows and layout written down once more.
#pragma once

#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "support/safetensors_bytes.hpp"

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashback_test {

/// A model whose weights are all different, rounded to a type.
inline flashback::Transformer random_weights(const flashback::TransformerConfig& c, bool tied,
                                             flashback::DType type = flashback::DType::f32) {
    std::mt19937 random{7};
    std::normal_distribution<float> normal{0, 0.3f};
    flashback::Transformer model;
    model.config = c;
    model.layers.resize(c.layers);
    if (!tied) model.head.emplace();
    const auto rounded = [&](float x) {
        if (type == flashback::DType::f16) return flashback::half_to_float(flashback::float_to_half(x));
        if (type == flashback::DType::bf16) return flashback::bf16_to_float(flashback::float_to_bf16(x));
        return x;
    };
    flashback::each_tensor(
        model,
        [&](const flashback::TensorId&, std::size_t outputs, std::size_t inputs, flashback::simd::PackedMatrix& to) {
            to = flashback::simd::PackedMatrix::of(type, outputs, inputs,
                                                   [&](std::size_t, std::size_t) { return rounded(normal(random)); });
        },
        [&](const flashback::TensorId& id, std::size_t count, std::vector<float>& to) {
            for (std::size_t i = 0; i < count; ++i) {
                const float x = normal(random);
                to.push_back(rounded(id.bias ? x : 1 + x));
            }
        });
    model.rotary_frequencies = flashback::rotary_frequencies_of(c);
    model.fingerprint = flashback::fingerprint(model);
    return model;
}

/// The tensors and the config.json of a model, as Hugging Face's classes save them.
class FolderWriter {
public:
    explicit FolderWriter(const flashback::Transformer& model, flashback::DType type = flashback::DType::f32)
        : model_(model), c_(model.config), type_(type) {
        using enum flashback::Family;
        if (c_.family == gpt2) {
            write_gpt2();
        } else if (c_.family == opt) {
            write_opt();
        } else {
            write_llama();
        }
        config["tie_word_embeddings"] = !model.head.has_value();
        if (model.head) matrix("lm_head.weight", *model.head);
    }

    void write(const std::filesystem::path& folder) const {
        std::filesystem::create_directories(folder);
        std::ofstream{folder / "config.json"} << config.dump();
        write_safetensors(folder / "model.safetensors", tensors);
    }

    std::vector<TensorToWrite> tensors;
    nlohmann::json config;

private:
    using Matrix = flashback::simd::PackedMatrix;

    static std::vector<float> values_of(const Matrix& w) {
        std::vector<float> values(w.outputs() * w.inputs());
        for (std::size_t o = 0; o < w.outputs(); ++o) w.row(o, values.data() + o * w.inputs());
        return values;
    }
    void matrix(const std::string& name, const Matrix& w) {
        tensors.push_back({name, {w.outputs(), w.inputs()}, values_of(w), type_});
    }
    void vector(const std::string& name, const std::vector<float>& v) { tensors.push_back({name, {v.size()}, v, type_}); }
    void norm(const std::string& name, const std::vector<float>& weight, const std::vector<float>& bias) {
        vector(name + ".weight", weight);
        if (!bias.empty()) vector(name + ".bias", bias);
    }

    /// Rows of queries or keys from pairs side by side to halves of a head.
    std::vector<float> halves(const std::vector<float>& ours, std::size_t row_size) const {
        std::vector<float> theirs(ours.size());
        const std::size_t d = c_.head_dim, half = d / 2;
        for (std::size_t row = 0; row < ours.size() / row_size; ++row) {
            const std::size_t head = row / d, i = row % d;
            const std::size_t to = head * d + (i % 2 == 0 ? i / 2 : half + i / 2);
            for (std::size_t k = 0; k < row_size; ++k) theirs[to * row_size + k] = ours[row * row_size + k];
        }
        return theirs;
    }

    void write_llama() {
        using enum flashback::LinearModule;
        const bool qwen2 = c_.family == flashback::Family::qwen2, mistral = c_.family == flashback::Family::mistral;
        config = {{"model_type", qwen2     ? "qwen2"
                                 : mistral ? "mistral"
                                           : "llama"},
                  {"architectures", {"SomethingForCausalLM"}},
                  {"vocab_size", c_.vocab},
                  {"hidden_size", c_.width},
                  {"num_hidden_layers", c_.layers},
                  {"num_attention_heads", c_.heads},
                  {"num_key_value_heads", c_.kv_heads},
                  {"intermediate_size", c_.hidden},
                  {"max_position_embeddings", c_.window},
                  {"rms_norm_eps", c_.norm_epsilon},
                  {"rope_theta", c_.rotary_base},
                  {"hidden_act", "silu"},
                  {"torch_dtype", "float32"}};
        if (c_.head_dim * c_.heads != c_.width) config["head_dim"] = c_.head_dim;
        matrix("model.embed_tokens.weight", model_.embedding);
        for (std::size_t l = 0; l < c_.layers; ++l) {
            const auto& layer = model_.layers[l];
            const std::string block = "model.layers." + std::to_string(l) + ".";
            vector(block + "input_layernorm.weight", layer.attention_norm);
            vector(block + "post_attention_layernorm.weight", layer.ffn_norm);
            const std::pair<const char*, flashback::LinearModule> names[]{
                {"self_attn.q_proj", q}, {"self_attn.k_proj", k}, {"self_attn.v_proj", v}, {"self_attn.o_proj", output},
                {"mlp.gate_proj", gate}, {"mlp.up_proj", up},     {"mlp.down_proj", down}};
            for (const auto& [name, m] : names) {
                const Matrix& w = layer[m];
                const bool rotated = m == q || m == k;
                const std::vector<float> values = rotated ? halves(values_of(w), w.inputs()) : values_of(w);
                tensors.push_back({block + name + ".weight", {w.outputs(), w.inputs()}, values, type_});
                const std::vector<float>& bias = layer.bias(m);
                if (!bias.empty()) vector(block + name + ".bias", rotated ? halves(bias, 1) : bias);
            }
        }
        vector("model.norm.weight", model_.output_norm);
    }

    /// Matrices side by side, turned over: (inputs, outputs of all).
    void conv1d(const std::string& name, const std::vector<const Matrix*>& parts) {
        std::size_t outputs = 0;
        for (const Matrix* w : parts) outputs += w->outputs();
        const std::size_t inputs = parts.front()->inputs();
        std::vector<float> turned(inputs * outputs);
        std::size_t first = 0;
        for (const Matrix* w : parts) {
            const std::vector<float> values = values_of(*w);
            for (std::size_t o = 0; o < w->outputs(); ++o) {
                for (std::size_t i = 0; i < inputs; ++i) turned[i * outputs + first + o] = values[o * inputs + i];
            }
            first += w->outputs();
        }
        tensors.push_back({name, {inputs, outputs}, turned, type_});
    }

    void write_gpt2() {
        using enum flashback::LinearModule;
        config = {{"model_type", "gpt2"},
                  {"vocab_size", c_.vocab},
                  {"n_embd", c_.width},
                  {"n_layer", c_.layers},
                  {"n_head", c_.heads},
                  {"n_inner", c_.hidden},
                  {"n_positions", c_.window},
                  {"n_ctx", c_.window},
                  {"resid_pdrop", 0.1},
                  {"activation_function", "gelu_new"},
                  {"layer_norm_epsilon", c_.norm_epsilon}};
        if (c_.hidden == 4 * c_.width) config["n_inner"] = nullptr;
        matrix("transformer.wte.weight", model_.embedding);
        matrix("transformer.wpe.weight", model_.positions);
        for (std::size_t l = 0; l < c_.layers; ++l) {
            const auto& layer = model_.layers[l];
            const std::string block = "transformer.h." + std::to_string(l) + ".";
            norm(block + "ln_1", layer.attention_norm, layer.attention_norm_bias);
            norm(block + "ln_2", layer.ffn_norm, layer.ffn_norm_bias);
            conv1d(block + "attn.c_attn.weight", {&layer.q, &layer.k, &layer.v});
            std::vector<float> bias;
            for (const auto m : {q, k, v}) bias.insert(bias.end(), layer.bias(m).begin(), layer.bias(m).end());
            vector(block + "attn.c_attn.bias", bias);
            conv1d(block + "attn.c_proj.weight", {&layer.output});
            vector(block + "attn.c_proj.bias", layer.bias(output));
            conv1d(block + "mlp.c_fc.weight", {&layer.up});
            vector(block + "mlp.c_fc.bias", layer.bias(up));
            conv1d(block + "mlp.c_proj.weight", {&layer.down});
            vector(block + "mlp.c_proj.bias", layer.bias(down));
        }
        norm("transformer.ln_f", model_.output_norm, model_.output_norm_bias);
    }

    void write_opt() {
        using enum flashback::LinearModule;
        config = {{"model_type", "opt"},
                  {"vocab_size", c_.vocab},
                  {"hidden_size", c_.width},
                  {"num_hidden_layers", c_.layers},
                  {"num_attention_heads", c_.heads},
                  {"ffn_dim", c_.hidden},
                  {"max_position_embeddings", c_.window},
                  {"word_embed_proj_dim", c_.row_width()},
                  {"do_layer_norm_before", !c_.post_norm},
                  {"activation_function", "relu"},
                  {"prefix", "</s>"},
                  {"layerdrop", 0.0}};
        const std::string decoder = "model.decoder.";
        matrix(decoder + "embed_tokens.weight", model_.embedding);
        matrix(decoder + "embed_positions.weight", model_.positions);
        if (c_.embedding_width > 0) {
            matrix(decoder + "project_in.weight", model_.project_in);
            matrix(decoder + "project_out.weight", model_.project_out);
        }
        for (std::size_t l = 0; l < c_.layers; ++l) {
            const auto& layer = model_.layers[l];
            const std::string block = decoder + "layers." + std::to_string(l) + ".";
            norm(block + "self_attn_layer_norm", layer.attention_norm, layer.attention_norm_bias);
            norm(block + "final_layer_norm", layer.ffn_norm, layer.ffn_norm_bias);
            const std::pair<const char*, flashback::LinearModule> names[]{{"self_attn.q_proj", q},
                                                                          {"self_attn.k_proj", k},
                                                                          {"self_attn.v_proj", v},
                                                                          {"self_attn.out_proj", output},
                                                                          {"fc1", up},
                                                                          {"fc2", down}};
            for (const auto& [name, m] : names) {
                matrix(block + name + ".weight", layer[m]);
                vector(block + name + ".bias", layer.bias(m));
            }
        }
        if (c_.final_norm) norm(decoder + "final_layer_norm", model_.output_norm, model_.output_norm_bias);
    }

    const flashback::Transformer& model_;
    const flashback::TransformerConfig& c_;
    flashback::DType type_;
};

/// A small shape of each family; OPT also as its 350m kind.
inline flashback::TransformerConfig small_shape(flashback::Family family, bool opt_350m = false) {
    using namespace flashback;
    TransformerConfig c;
    c.family = family;
    c.vocab = 37;
    c.window = 32;
    c.layers = 2;
    c.width = 24;
    c.heads = 4;
    c.kv_heads = 4;
    c.head_dim = 6;
    c.hidden = 40;
    c.norm_epsilon = 1e-5f;
    if (family == Family::gpt2 || family == Family::opt) {
        c.norm = Norm::layer;
        c.positions = Positions::learned;
        c.activation = family == Family::opt ? Activation::relu : Activation::gelu_tanh;
        c.gated = false;
        c.qkv_bias = c.output_bias = c.ffn_bias = true;
        c.position_offset = family == Family::opt ? 2 : 0;
        c.post_norm = opt_350m;
        c.final_norm = !opt_350m;
        c.embedding_width = opt_350m ? 16 : 0;
        return c;
    }
    c.kv_heads = 2;
    c.head_dim = family == Family::mistral ? 8 : 6;
    c.rotary_dim = c.head_dim;
    c.rotary_base = 5000;
    c.qkv_bias = family == Family::qwen2;
    return c;
}

}  // namespace flashback_test

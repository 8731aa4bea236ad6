/// \file A small BERT with random weights: its files in both formats, written down by hand, and its forward pass in double, as plain
/// as can be. The library has no part in the latter.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"
#include "support/gguf_bytes.hpp"
#include "support/safetensors_bytes.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashback_test {

/// The tokens of the test encoders.
inline std::vector<std::string> encoder_pieces() {
    std::vector<std::string> pieces{"[PAD]",  "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world",  "un",     "##aff",
                                    "##able", ",",     ".",     "the",   "query",  ":",     "\u4e2d", "\u6587", "caf\u00e9"};
    for (char c = 'a'; c <= 'z'; ++c) pieces.push_back(std::string(1, c));
    for (char c = 'a'; c <= 'z'; ++c) pieces.push_back("##" + std::string(1, c));
    return pieces;
}

struct RandomEncoder {
    std::size_t width = 48, heads = 3, layers = 2, hidden = 80, window = 160, types = 2;
    double epsilon = 1e-12;
    std::string activation = "gelu";
    flashback::DType type = flashback::DType::f32;  ///< of the matrices
    std::vector<std::string> pieces = encoder_pieces();

    struct Tensor {
        std::string gguf, hugging_face;  ///< names
        std::vector<std::uint64_t> shape;
        std::vector<float> values;
        flashback::DType type;
    };
    std::vector<Tensor> tensors = {};

    /// Fills the tensors. Their numbers are rounded to their types.
    RandomEncoder& fill(std::uint64_t seed = 1) {
        flashback::SplitMix64 random{seed};
        tensors.clear();
        const auto add = [&](const std::string& gguf, const std::string& name, std::vector<std::uint64_t> shape) {
            const bool matrix = shape.size() == 2;
            Tensor t{gguf, name, std::move(shape), {}, matrix ? type : flashback::DType::f32};
            const std::size_t count = t.shape[0] * (matrix ? t.shape[1] : 1);
            const bool norm = gguf.ends_with("norm.weight");
            const double most = matrix ? 2 * std::sqrt(3.0 / static_cast<double>(t.shape[1])) : 0.5;
            for (std::size_t i = 0; i < count; ++i)
                t.values.push_back(static_cast<float>((norm ? 1 : 0) + (2 * random.uniform() - 1) * most));
            std::vector<std::byte> bytes(count / flashback::layout_of(t.type).block_elements *
                                         flashback::layout_of(t.type).block_bytes);
            flashback::quantize(t.type, t.values.data(), count, bytes.data());
            flashback::dequantize(t.type, bytes.data(), count, t.values.data());
            tensors.push_back(std::move(t));
        };
        const auto both = [&](const std::string& gguf, const std::string& name, std::vector<std::uint64_t> shape) {
            add(gguf + ".weight", name + ".weight", shape);
            add(gguf + ".bias", name + ".bias", {shape[0]});
        };
        add("token_embd.weight", "embeddings.word_embeddings.weight", {pieces.size(), width});
        add("position_embd.weight", "embeddings.position_embeddings.weight", {window, width});
        add("token_types.weight", "embeddings.token_type_embeddings.weight", {types, width});
        both("token_embd_norm", "embeddings.LayerNorm", {width});
        for (std::size_t l = 0; l < layers; ++l) {
            const std::string g = "blk." + std::to_string(l) + '.';
            const std::string h = "encoder.layer." + std::to_string(l) + '.';
            both(g + "attn_q", h + "attention.self.query", {width, width});
            both(g + "attn_k", h + "attention.self.key", {width, width});
            both(g + "attn_v", h + "attention.self.value", {width, width});
            both(g + "attn_output", h + "attention.output.dense", {width, width});
            both(g + "attn_output_norm", h + "attention.output.LayerNorm", {width});
            both(g + "ffn_up", h + "intermediate.dense", {hidden, width});
            both(g + "ffn_down", h + "output.dense", {width, hidden});
            both(g + "layer_output_norm", h + "output.LayerNorm", {width});
        }
        return *this;
    }

    nlohmann::json config() const {
        return {{"model_type", "bert"},
                {"architectures", {"BertModel"}},
                {"vocab_size", pieces.size()},
                {"hidden_size", width},
                {"num_hidden_layers", layers},
                {"num_attention_heads", heads},
                {"intermediate_size", hidden},
                {"max_position_embeddings", window},
                {"type_vocab_size", types},
                {"layer_norm_eps", epsilon},
                {"hidden_act", activation},
                {"hidden_dropout_prob", 0.1},
                {"attention_probs_dropout_prob", 0.1},
                {"position_embedding_type", "absolute"},
                {"pad_token_id", 0}};
    }

    /// A folder of sentence-transformers; `pooling` is "mean_tokens" or "cls_token", or "" for a folder without modules.
    void write_folder(const std::filesystem::path& folder, const std::string& pooling = "mean_tokens",
                      const std::string& prefix = {}, bool normalise = true) const {
        std::filesystem::create_directories(folder);
        std::ofstream{folder / "config.json"} << config().dump();
        std::ofstream vocabulary{folder / "vocab.txt"};
        for (const std::string& piece : pieces) vocabulary << piece << '\n';
        std::vector<TensorToWrite> all;
        for (const Tensor& t : tensors) all.push_back({prefix + t.hugging_face, t.shape, t.values, t.type});
        write_safetensors(folder / "model.safetensors", all);
        if (pooling.empty()) return;
        nlohmann::json modules{
            {{"idx", 0}, {"name", "0"}, {"path", ""}, {"type", "sentence_transformers.models.Transformer"}},
            {{"idx", 1}, {"name", "1"}, {"path", "1_Pooling"}, {"type", "sentence_transformers.models.Pooling"}}};
        if (normalise)
            modules.push_back(
                {{"idx", 2}, {"name", "2"}, {"path", "2_Normalize"}, {"type", "sentence_transformers.models.Normalize"}});
        std::ofstream{folder / "modules.json"} << modules.dump();
        std::filesystem::create_directories(folder / "1_Pooling");
        nlohmann::json how{{"word_embedding_dimension", width},
                           {"pooling_mode_cls_token", false},
                           {"pooling_mode_mean_tokens", false},
                           {"pooling_mode_max_tokens", false}};
        how["pooling_mode_" + pooling] = true;
        std::ofstream{folder / "1_Pooling" / "config.json"} << how.dump();
    }

    /// A file as llama.cpp's converter writes it.
    GgufBytes gguf(std::uint32_t pooling = 1) const {
        GgufBytes w;
        w.set("general.architecture", "bert");
        const auto set = [&](const char* key, std::size_t value) {
            w.set(std::string{"bert."} + key, static_cast<std::uint32_t>(value));
        };
        set("block_count", layers);
        set("context_length", window);
        set("embedding_length", width);
        set("feed_forward_length", hidden);
        set("attention.head_count", heads);
        w.set("bert.attention.layer_norm_epsilon", static_cast<float>(epsilon)).set("bert.attention.causal", false);
        set("pooling_type", pooling);
        w.set("tokenizer.ggml.model", "bert").set("tokenizer.ggml.pre", "jina-v2-en");
        w.set("tokenizer.ggml.token_type_count", static_cast<std::uint32_t>(types));
        std::vector<std::string> theirs;
        std::vector<std::int32_t> kinds;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            const std::string& piece = pieces[i];
            const bool special = i < 5;
            kinds.push_back(special ? 3 : 1);
            theirs.push_back(special ? piece : piece.starts_with("##") ? piece.substr(2) : "\u2581" + piece);
        }
        w.set_array("tokenizer.ggml.tokens", theirs).set_array("tokenizer.ggml.token_type", kinds);
        w.set("tokenizer.ggml.unknown_token_id", 1u)
            .set("tokenizer.ggml.cls_token_id", 2u)
            .set("tokenizer.ggml.seperator_token_id", 3u);
        for (const Tensor& t : tensors) {
            std::vector<std::byte> bytes(t.values.size() / flashback::layout_of(t.type).block_elements *
                                         flashback::layout_of(t.type).block_bytes);
            flashback::quantize(t.type, t.values.data(), t.values.size(), bytes.data());
            GgufBytes::Tensor tensor{t.gguf, {t.shape.rbegin(), t.shape.rend()}, static_cast<std::uint32_t>(t.type), {}};
            tensor.data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            w.tensors.push_back(std::move(tensor));
        }
        return w;
    }

    using Row = std::vector<double>;
    using Rows = std::vector<Row>;
    /// What rounding adds to a sum: (sum of magnitudes, terms).
    using Noise = std::function<double(double, std::size_t)>;

    /// The last hidden states of some tokens.
    Rows hidden_states(const std::vector<flashback::TokenId>& tokens, const Noise& noise = {}) const {
        std::map<std::string, const std::vector<float>*> by_name;
        for (const Tensor& t : tensors) by_name[t.gguf] = &t.values;
        const auto values_of = [&](const std::string& name) { return Row(by_name.at(name)->begin(), by_name.at(name)->end()); };
        const auto off = [&](double magnitudes, std::size_t terms) { return noise ? noise(magnitudes, terms) : 0.0; };
        const auto linear = [&](const std::string& name, const Rows& x, std::size_t outputs) {
            const Row weight = values_of(name + ".weight");
            const Row bias = values_of(name + ".bias");
            Rows y;
            for (const Row& row : x) {
                Row& to = y.emplace_back();
                for (std::size_t o = 0; o < outputs; ++o) {
                    double sum = 0, magnitudes = 0;
                    for (std::size_t i = 0; i < row.size(); ++i) {
                        const double term = row[i] * weight[o * row.size() + i];
                        sum += term;
                        magnitudes += std::abs(term);
                    }
                    to.push_back(sum + bias[o] + off(magnitudes, row.size()));
                }
            }
            return y;
        };
        const auto norm = [&](const std::string& name, Rows& x) {
            const Row weight = values_of(name + ".weight");
            const Row bias = values_of(name + ".bias");
            for (Row& row : x) {
                double mean = 0, squares = 0;
                for (const double v : row) mean += v / static_cast<double>(row.size());
                for (const double v : row) squares += (v - mean) * (v - mean) / static_cast<double>(row.size());
                for (std::size_t i = 0; i < row.size(); ++i) {
                    row[i] = (row[i] - mean) / std::sqrt(squares + epsilon) * weight[i] + bias[i];
                    row[i] += off(std::abs(row[i]), 4);
                }
            }
        };
        const auto add = [](Rows& x, const Rows& y) {
            for (std::size_t t = 0; t < x.size(); ++t) {
                for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
            }
        };
        const auto act = [&](double v) {
            if (activation == "relu") return v > 0 ? v : 0.0;
            if (activation == "gelu") return v / 2 * std::erfc(-v / std::sqrt(2.0));
            return v / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
        };
        const Row words = values_of("token_embd.weight");
        const Row positions = values_of("position_embd.weight");
        const Row type_rows = values_of("token_types.weight");
        Rows x;
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            Row& row = x.emplace_back();
            for (std::size_t i = 0; i < width; ++i)
                row.push_back(words[static_cast<std::size_t>(tokens[t]) * width + i] + type_rows[i] + positions[t * width + i]);
        }
        norm("token_embd_norm", x);
        const std::size_t d = width / heads;
        for (std::size_t l = 0; l < layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            const Rows q = linear(block + "attn_q", x, width);
            const Rows k = linear(block + "attn_k", x, width);
            const Rows v = linear(block + "attn_v", x, width);
            Rows attended(x.size(), Row(width));
            for (std::size_t h = 0; h < heads; ++h) {
                for (std::size_t t = 0; t < x.size(); ++t) {
                    Row score(x.size());
                    double most = -1e300, total = 0;
                    for (std::size_t u = 0; u < x.size(); ++u) {
                        for (std::size_t i = h * d; i < (h + 1) * d; ++i)
                            score[u] += q[t][i] * k[u][i] / std::sqrt(static_cast<double>(d));
                        most = std::max(most, score[u]);
                    }
                    for (double& s : score) total += s = std::exp(s - most);
                    for (std::size_t i = h * d; i < (h + 1) * d; ++i) {
                        for (std::size_t u = 0; u < x.size(); ++u) attended[t][i] += score[u] / total * v[u][i];
                        attended[t][i] += off(std::abs(attended[t][i]), d + x.size());
                    }
                }
            }
            add(x, linear(block + "attn_output", attended, width));
            norm(block + "attn_output_norm", x);
            Rows up = linear(block + "ffn_up", x, hidden);
            for (Row& row : up) {
                for (double& value : row) value = act(value) + off(std::abs(act(value)), 9);
            }
            add(x, linear(block + "ffn_down", up, width));
            norm(block + "layer_output_norm", x);
        }
        return x;
    }

    /// The mean of the hidden states, or the first of them, perhaps of length 1.
    Row vector(const std::vector<flashback::TokenId>& tokens, bool mean, bool normalise, const Noise& noise = {}) const {
        const Rows x = hidden_states(tokens, noise);
        Row out = x[0];
        double squares = 0;
        for (std::size_t i = 0; i < width; ++i) {
            for (std::size_t t = 1; mean && t < x.size(); ++t) out[i] += x[t][i];
            if (mean) out[i] /= static_cast<double>(x.size());
            squares += out[i] * out[i];
        }
        for (double& value : out) value /= normalise ? std::sqrt(squares) : 1;
        return out;
    }
};

}  // namespace flashback_test

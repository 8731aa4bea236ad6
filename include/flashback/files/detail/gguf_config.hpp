/// \file The hyper-parameters of a GGUF file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/detail/gguf_weights.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/transformer_config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The keys of one architecture in a GGUF file.
class GgufKeys {
public:
    GgufKeys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(std::string{architecture} + '.') {}

    std::string key(std::string_view name) const { return prefix_ + std::string{name}; }

    /// A number from 1 to 2^31 - 1. No tensor of a real model has a longer side, and products of two such numbers cannot
    /// overflow.
    std::size_t count(std::string_view name) const {
        const auto value = file_.integer(key(name));
        if (!value) FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "' lacks the key ", key(name));
        return checked(name, *value);
    }
    std::size_t count(std::string_view name, std::size_t absent) const {
        const auto value = file_.integer(key(name));
        return value ? checked(name, *value) : absent;
    }

    /// A number above 0.
    double positive(std::string_view name, double absent) const {
        const double value = file_.real(key(name)).value_or(absent);
        if (!(value > 0) || !std::isfinite(value)) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': ", key(name), " is ", value,
                            ", expected a number above 0");
        }
        return value;
    }

private:
    std::size_t checked(std::string_view name, std::uint64_t value) const {
        if (value == 0 || value > std::numeric_limits<std::int32_t>::max()) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': ", key(name), " is ", value,
                            ", expected 1 to 2147483647");
        }
        return static_cast<std::size_t>(value);
    }

    const GgufFile& file_;
    std::string prefix_;
};

inline Family gguf_family(const GgufFile& file) {
    const std::string architecture{file.text("general.architecture").value_or("")};
    for (const Family family : {Family::llama, Family::qwen2, Family::gpt2, Family::bert}) {
        if (architecture == gguf_architecture(family)) return family;
    }
    FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "' has the architecture '", printable(architecture),
                    "', expected 'llama', 'qwen2', 'gpt2' or 'bert'");
}

inline void read_heads(const GgufFile& file, const GgufKeys& keys, TransformerConfig& c) {
    c.heads = keys.count("attention.head_count");
    c.kv_heads = keys.count("attention.head_count_kv", c.heads);
    if (c.heads % c.kv_heads != 0) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': ", c.kv_heads, " heads of keys and values do not divide ",
                        c.heads, " heads");
    }
    if (!file.integer(keys.key("attention.key_length")) && c.width % c.heads != 0) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': a width of ", c.width, " is not a multiple of ", c.heads,
                        " heads, and ", keys.key("attention.key_length"), " is absent");
    }
    c.head_dim = keys.count("attention.key_length", std::max<std::size_t>(c.width / c.heads, 1));
    if (const std::size_t value_length = keys.count("attention.value_length", c.head_dim); value_length != c.head_dim) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': values of ", value_length, " elements a head, expected ",
                        c.head_dim, " as keys have");
    }
}

/// Source    ggml-org/llama.cpp, src/llama-model.cpp, load_hparams: scaling is linear unless another kind is named
inline void read_rotary(const GgufFile& file, const GgufKeys& keys, TransformerConfig& c) {
    c.rotary_dim = keys.count("rope.dimension_count", c.head_dim);
    if (c.rotary_dim % 2 != 0 || c.rotary_dim > c.head_dim) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': ", keys.key("rope.dimension_count"), " is ", c.rotary_dim,
                        ", expected an even number up to ", c.head_dim);
    }
    c.rotary_base = keys.positive("rope.freq_base", 10000.0);
    const std::string_view scaling = file.text(keys.key("rope.scaling.type")).value_or("linear");
    if (scaling != "none" && scaling != "linear") {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': rope scaling '", printable(scaling),
                        "', expected none or linear");
    }
    const double factor = keys.positive("rope.scaling.factor", keys.positive("rope.scale_linear", 1.0));
    if (scaling == "linear") c.rotary_linear = factor;
    if (c.family == Family::llama && file.tensor("rope_freqs.weight")) {
        GgufWeights weights{file};
        c.rotary_factors = weights.vector({"rope_freqs.weight", 0, c.rotary_dim / 2, nullptr, {}}, c.rotary_dim / 2);
        for (const float divisor : c.rotary_factors) {
            if (!(divisor > 0) || !std::isfinite(divisor)) {
                FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': tensor rope_freqs.weight has the value ", divisor,
                                ", expected numbers above 0");
            }
        }
    }
}

/// Settings that would change the arithmetic and are not implemented.
inline void refuse_settings(const GgufFile& file, const GgufKeys& keys, const TransformerConfig& c) {
    for (const char* name : {"expert_count", "attention.clamp_kqv", "logit_scale", "residual_scale", "embedding_scale",
                             "attention.scale", "rope.scaling.attn_factor"}) {
        if (file.find(keys.key(name))) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "' has the key ", keys.key(name),
                            ", which changes the arithmetic and is not implemented");
        }
    }
    if (file.boolean(keys.key("attention.causal")).value_or(c.causal) != c.causal) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': ", keys.key("attention.causal"), " is ",
                        c.causal ? "false, expected a model whose positions see those before them alone"
                                 : "true, expected an encoder, whose positions see those after them too");
    }
    const auto sliding = file.integer(keys.key("attention.sliding_window"));
    if (sliding && *sliding != 0 && *sliding < c.window) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': ", keys.key("attention.sliding_window"), " is ", *sliding,
                        ", less than the window of ", c.window, ", which is not implemented");
    }
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE TransformerConfig read_config(const GgufFile& file) {
    TransformerConfig c = choices_of(detail::gguf_family(file));
    const detail::GgufKeys keys{file, detail::gguf_architecture(c.family)};
    const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': ", parts...); };
    c.name = file.text("general.name").value_or("");
    c.window = keys.count("context_length");
    c.width = keys.count("embedding_length");
    c.layers = keys.count("block_count");
    c.hidden = keys.count("feed_forward_length");
    detail::read_heads(file, keys, c);
    if (c.positions == Positions::rotary) detail::read_rotary(file, keys, c);
    const char* const name = c.norm == Norm::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    const auto epsilon = file.real(keys.key(name));
    if (!epsilon || !(*epsilon >= 0) || !std::isfinite(*epsilon))
        refuse(keys.key(name), epsilon ? " is negative or no number" : " is missing");
    c.norm_epsilon = static_cast<float>(*epsilon);
    if (c.family == Family::llama) {  // only some files of this architecture have biases
        c.qkv_bias = file.tensor(to_string(TensorId::of(LinearModule::q, 0, true))) != nullptr;
        c.output_bias = file.tensor(to_string(TensorId::of(LinearModule::output, 0, true))) != nullptr;
        c.ffn_bias = file.tensor(to_string(TensorId::of(LinearModule::up, 0, true))) != nullptr;
    }
    if (c.token_types > 0) {
        const GgufTensor* types = file.tensor(to_string(TensorId{TensorRole::token_types}));
        if (!types) refuse("the tensor token_types.weight is missing");
        if (types->dims[1] > std::numeric_limits<std::int32_t>::max())
            refuse("token_types.weight has ", types->dims[1], " rows, expected at most 2147483647");
        c.token_types = static_cast<std::size_t>(types->dims[1]);
    }
    detail::refuse_settings(file, keys, c);
    const GgufTensor* embedding = file.tensor("token_embd.weight");
    if (!embedding)
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' lacks the tensor token_embd.weight",
                        file.tensors().empty() ? ": it is a vocabulary without a model" : "");
    if (embedding->dims[1] > std::numeric_limits<std::int32_t>::max())
        refuse("token_embd.weight has ", embedding->dims[1], " rows, expected at most 2147483647");
    c.vocab = static_cast<std::size_t>(embedding->dims[1]);
    return c;
}

}  // namespace flashback::inline FLASHBACK_ISA

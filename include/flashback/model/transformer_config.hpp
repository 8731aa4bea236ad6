/// \file The hyper-parameters of a transformer: one block for all families, and what each model chooses in it.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/linear_module.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Which family's names a model has in files. The arithmetic does not depend on it.
enum class Family : std::uint8_t { llama, mistral, qwen2, gpt2, opt, bert };

/// How a row is normalised: by its root mean square; or by its mean and variance, with a bias.
enum class Norm : std::uint8_t { rms, layer };

/// How the model knows a position: queries and keys are rotated by it, or a row of a table is added to the embedding.
enum class Positions : std::uint8_t { rotary, learned };

/// The function between the matrices of the feed-forward layer; `gelu_tanh` is GPT-2's form of GELU, `gelu` that with erf.
enum class Activation : std::uint8_t { silu, gelu_tanh, relu, gelu };

/// The hyper-parameters of a model. The defaults are Llama's.
struct TransformerConfig {
    std::string name = {};          ///< as the file has it; may be empty
    Family family = Family::llama;  ///< whose names it has in files
    std::size_t vocab = 0;          ///< rows of the embedding and of the head; a tokenizer may have fewer
    std::size_t window = 0;         ///< positions that the model was trained for
    std::size_t layers = 0;         ///< blocks
    std::size_t width = 0;          ///< of the residual stream
    std::size_t embedding_width =
        0;                     ///< of the rows of embedding and head, if they are projected to the stream and back; else 0
    std::size_t heads = 0;     ///< of queries
    std::size_t kv_heads = 0;  ///< of keys and values; divides `heads`
    std::size_t head_dim = 0;  ///< numbers of a head
    std::size_t hidden = 0;    ///< width of the feed-forward layer

    Norm norm = Norm::rms;   ///< how rows are normalised
    float norm_epsilon = 0;  ///< is added to the mean square, or to the variance
    bool post_norm = false;  ///< norms come after the sums of the residual stream (OPT-350m), not before what reads it
    bool final_norm = true;  ///< one more norm after the last block

    /// Whether a position sees only itself and those before it. If not, it sees all of its text: the model is an encoder, which
    /// turns texts into vectors (TextEncoder) and writes none.
    bool causal = true;
    std::size_t token_types = 0;  ///< rows of a table whose first row is added to every embedding, which is then normed; or 0

    Positions positions = Positions::rotary;  ///< how positions are known
    std::size_t rotary_dim = 0;  ///< how much of a head is rotated, from its start; even; 0 if positions are learned
    double rotary_base = 10000;  ///< theta of RoPE
    double rotary_linear = 1;    ///< what positions are divided by: linear scaling
    std::vector<float> rotary_factors = {};  ///< (rotary_dim / 2): what each frequency is divided by (Llama 3), or empty
    std::size_t position_offset = 0;         ///< row of the first position in the table; OPT: 2

    Activation activation = Activation::silu;  ///< between the matrices of the feed-forward layer
    bool gated = true;                         ///< true: down(act(gate) · up); false: down(act(up)); only SiLU can be gated

    bool qkv_bias = false;     ///< a bias is added to queries, keys and values (Qwen2)
    bool output_bias = false;  ///< and to the output of attention
    bool ffn_bias = false;     ///< and to the products of the feed-forward layer

    /// How many numbers a row of the embedding has.
    std::size_t row_width() const noexcept { return embedding_width == 0 ? width : embedding_width; }
    /// Rows of the table of positions; 0 if there is none.
    std::size_t position_rows() const noexcept { return positions == Positions::learned ? window + position_offset : 0; }
    /// Whether the blocks have a linear layer.
    bool has(LinearModule m) const noexcept { return m != LinearModule::gate || gated; }
    /// Whether a linear layer has a bias.
    bool has_bias(LinearModule m) const noexcept {
        return has(m) && (m < LinearModule::output ? qkv_bias : m == LinearModule::output ? output_bias : ffn_bias);
    }

    /// How many numbers a linear layer gives; 0 for one that the blocks do not have.
    std::size_t outputs(LinearModule m) const noexcept {
        switch (m) {
            case LinearModule::q: return heads * head_dim;
            case LinearModule::k:
            case LinearModule::v: return kv_heads * head_dim;
            case LinearModule::gate: return gated ? hidden : 0;
            case LinearModule::up: return hidden;
            default: return width;
        }
    }
    /// How many numbers a linear layer takes; 0 for one that the blocks do not have.
    std::size_t inputs(LinearModule m) const noexcept {
        if (!has(m)) return 0;
        return m == LinearModule::output ? heads * head_dim : m == LinearModule::down ? hidden : width;
    }
};

/// What all models of a family have in common; the sizes are left to be set. OPT-350m differs from the rest of its family: its
/// norms come after the sums, it has no norm after the last block, and its embedding is projected.
/// Source    Touvron et al. 2023, Llama 2; Jiang et al. 2023, Mistral 7B; Yang et al. 2024, Qwen2; Radford et al. 2019, GPT-2;
///           Zhang et al. 2022, OPT; Devlin et al. 2019, BERT
inline TransformerConfig choices_of(Family family) {
    TransformerConfig c;
    c.family = family;
    if (family == Family::qwen2) c.qkv_bias = true;
    if (family != Family::gpt2 && family != Family::opt && family != Family::bert) return c;
    c.norm = Norm::layer;
    c.positions = Positions::learned;
    c.gated = false;
    c.activation = family == Family::gpt2   ? Activation::gelu_tanh
                   : family == Family::bert ? Activation::gelu
                                            : Activation::relu;
    c.position_offset = family == Family::opt ? 2 : 0;
    c.qkv_bias = c.output_bias = c.ffn_bias = true;
    if (family != Family::bert) return c;
    c.post_norm = true;
    c.final_norm = false;
    c.causal = false;
    c.token_types = 2;
    return c;
}

/// By how many radians one position turns each pair of a head: base^(-2 i / rotary_dim), divided by what the scaling says.
/// Shape     (rotary_dim / 2)
/// Source    Su et al. 2021, RoFormer, equation 15
inline std::vector<double> rotary_frequencies_of(const TransformerConfig& c) {
    std::vector<double> frequencies(c.rotary_dim / 2);
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double scaling = c.rotary_linear * (c.rotary_factors.empty() ? 1.0 : static_cast<double>(c.rotary_factors[i]));
        frequencies[i] = std::pow(c.rotary_base, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotary_dim)) / scaling;
    }
    return frequencies;
}

/// The four numbers of Llama 3's scaling.
struct Llama3Scaling {
    double factor = 8;                 ///< what low frequencies are divided by
    double low_frequency_factor = 1;   ///< a frequency with fewer waves in `original_window` is low
    double high_frequency_factor = 4;  ///< one with more stays as it is
    double original_window = 8192;     ///< that the model was first trained for
};

/// What Llama 3 divides each frequency by: 1 if its wave is short compared with the window of the first training, `factor` if
/// it is long, and a mean in between.
/// Shape     (rotary_dim / 2), for TransformerConfig::rotary_factors
/// Source    Grattafiori et al. 2024, The Llama 3 herd of models, section 3.4; transformers, _compute_llama3_parameters
inline std::vector<float> llama3_rotary_factors(double base, std::size_t rotary_dim, const Llama3Scaling& scaling) {
    std::vector<float> factors(rotary_dim / 2);
    for (std::size_t i = 0; i < factors.size(); ++i) {
        const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
        const double waves = scaling.original_window * frequency / (2 * std::numbers::pi);  // in the first window
        if (waves > scaling.high_frequency_factor) {
            factors[i] = 1;
        } else if (waves < scaling.low_frequency_factor) {
            factors[i] = static_cast<float>(scaling.factor);
        } else {
            const double high =
                (waves - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor);
            factors[i] = static_cast<float>(1 / ((1 - high) / scaling.factor + high));
        }
    }
    return factors;
}

/// Refuses hyper-parameters that no model can have.
/// Throws    Error{contract}
inline void check_shape(const TransformerConfig& c) {
    FLASHBACK_ASSERT(c.vocab > 0 && c.window > 0 && c.layers > 0 && c.width > 0 && c.head_dim > 0 && c.hidden > 0,
                     "the shape '", c.name, "' has a side of 0");
    FLASHBACK_ASSERT(c.kv_heads > 0 && c.heads > 0 && c.heads % c.kv_heads == 0, "the shape '", c.name, "' has ", c.heads,
                     " heads and ", c.kv_heads, " of keys and values, expected a divisor");
    FLASHBACK_ASSERT(c.rotary_dim % 2 == 0 && c.rotary_dim <= c.head_dim, "the shape '", c.name, "' rotates ", c.rotary_dim,
                     " elements of heads of ", c.head_dim, ", expected an even number of them");
    FLASHBACK_ASSERT(c.rotary_factors.empty() || c.rotary_factors.size() == c.rotary_dim / 2, "the shape '", c.name, "' has ",
                     c.rotary_factors.size(), " rotary factors for ", c.rotary_dim / 2, " frequencies");
    FLASHBACK_ASSERT(c.positions == Positions::rotary || c.rotary_dim == 0, "the shape '", c.name,
                     "' learns its positions and rotates ", c.rotary_dim, " elements of a head, expected 0");
    FLASHBACK_ASSERT(c.token_types == 0 || (c.norm == Norm::layer && c.positions == Positions::learned), "the shape '", c.name,
                     "' has token types, expected norms with a mean and learned positions beside them");
    FLASHBACK_ASSERT(!c.gated || c.activation == Activation::silu, "the shape '", c.name,
                     "' has gates with another function than SiLU, which is not implemented");
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Models without a file: a shape, a type and random weights. They are for measuring; their output means nothing.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/detail/each_tensor.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The names that `shape_of` knows.
inline constexpr std::array<std::string_view, 7> known_shapes{"llama2-7b", "llama2-13b", "tinyllama-1.1b", "gpt2",
                                                              "opt-125m",  "opt-1.3b",   "opt-6.7b"};

/// The hyper-parameters of a well-known model; nothing if the name is not in `known_shapes`.
/// Source    Touvron et al. 2023, Llama 2; Zhang et al. 2024, TinyLlama; Radford et al. 2019, GPT-2; Zhang et al. 2022, OPT,
///           table 1
inline std::optional<TransformerConfig> shape_of(std::string_view name) {
    const auto shape = [&](Family family, std::size_t vocab, std::size_t window, std::size_t layers, std::size_t heads,
                           std::size_t kv_heads, std::size_t head_dim, std::size_t hidden) {
        TransformerConfig c = choices_of(family);
        c.name = name;
        c.vocab = vocab;
        c.window = window;
        c.layers = layers;
        c.width = heads * head_dim;
        c.heads = heads;
        c.kv_heads = kv_heads;
        c.head_dim = head_dim;
        if (c.positions == Positions::rotary) c.rotary_dim = head_dim;
        c.hidden = hidden;
        c.norm_epsilon = 1e-5f;
        return c;
    };
    if (name == "llama2-7b") return shape(Family::llama, 32000, 4096, 32, 32, 32, 128, 11008);
    if (name == "llama2-13b") return shape(Family::llama, 32000, 4096, 40, 40, 40, 128, 13824);
    if (name == "tinyllama-1.1b") return shape(Family::llama, 32000, 2048, 22, 32, 4, 64, 5632);
    if (name == "gpt2") return shape(Family::gpt2, 50257, 1024, 12, 12, 12, 64, 3072);
    if (name == "opt-125m") return shape(Family::opt, 50272, 2048, 12, 12, 12, 64, 3072);
    if (name == "opt-1.3b") return shape(Family::opt, 50272, 2048, 24, 32, 32, 64, 8192);
    if (name == "opt-6.7b") return shape(Family::opt, 50272, 2048, 32, 32, 32, 128, 16384);
    return {};
}

namespace detail {

/// Makes matrices of random weights of one type, quickly: every row is a rotation of the same random numbers. This is the only
/// place where a random model depends on the type of its weights.
class RandomMatrices {
public:
    RandomMatrices(DType type, std::uint64_t seed, ExecutorRef executor) : type_(type), executor_(executor), random_(seed) {
        if (!can_quantize(type)) {
            FLASHBACK_THROW(ErrorCode::unsupported, "random weights of type ", layout_of(type).name,
                            ", expected F32, F16, BF16, Q8_0 or Q4_0");
        }
    }

    /// A matrix whose output has about the scale of its input.
    simd::PackedMatrix make(std::size_t outputs, std::size_t inputs) {
        simd::PackedMatrix matrix{type_, outputs, inputs};
        const DTypeLayout layout = layout_of(type_);
        const auto most = static_cast<float>(std::sqrt(3.0 / static_cast<double>(inputs)));
        // One row of random numbers, rounded once; every row of the matrix is that row, rotated block by block.
        const std::size_t row_blocks = inputs / layout.block_elements;
        std::vector<float> numbers(inputs);
        for (float& number : numbers) number = most * static_cast<float>(2 * random_.uniform() - 1);
        std::vector<std::byte> twice(2 * row_blocks * layout.block_bytes);
        quantize(type_, numbers.data(), inputs, twice.data());
        std::copy_n(twice.begin(), twice.size() / 2, twice.begin() + static_cast<std::ptrdiff_t>(twice.size() / 2));
        const std::uint64_t seed = random_.next();
        executor_.run_ranges(outputs, simd::panel_outputs, [&](std::size_t first, std::size_t last) {
            for (std::size_t o = first; o < last; ++o)
                matrix.set_row(o, twice.data() + SplitMix64{seed + o}.below(row_blocks) * layout.block_bytes);
        });
        return matrix;
    }

private:
    DType type_;
    ExecutorRef executor_;
    SplitMix64 random_;
};

}  // namespace detail

/// A model with random weights of a type. It is the same for the same seed, whatever the executor. Norms are 1 and biases 0.
/// The head is tied if that of the family is (GPT-2, OPT). Texts have no head and no end.
/// Throws    Error{unsupported} for a type that has no random weights; Error{contract} for an impossible shape
/// Cost      the memory of the weights; about a second for 10^9 of them
inline std::shared_ptr<const Transformer> random_transformer(const TransformerConfig& config, DType type,
                                                             std::uint64_t seed = 1, ExecutorRef executor = {}) {
    check_shape(config);
    detail::RandomMatrices matrices{type, seed, executor};
    auto model = std::make_shared<Transformer>();
    model->config = config;
    model->layers.resize(config.layers);
    if (config.family != Family::gpt2 && config.family != Family::opt) model->head.emplace();
    detail::each_tensor(
        *model,
        [&](const std::string&, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& matrix) {
            matrix = matrices.make(outputs, inputs);
        },
        [&](const std::string& name, std::size_t count, std::vector<float>& vector) {
            vector.assign(count, name.ends_with(".weight") ? 1.0f : 0.0f);
        });
    model->rotary_frequencies = rotary_frequencies_of(config);
    model->fingerprint = fingerprint(*model, executor);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Random weights.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/model/tensors.hpp"
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

FLASHBACK_DETAIL_ONCE std::optional<TransformerConfig> shape_of(std::string_view name) {
    struct Known {
        Family family;
        std::size_t vocab, window, layers, heads, kv_heads, head_dim, hidden;
    };
    constexpr std::array<Known, known_shapes.size()> known{{{Family::llama, 32000, 4096, 32, 32, 32, 128, 11008},
                                                            {Family::llama, 32000, 4096, 40, 40, 40, 128, 13824},
                                                            {Family::llama, 32000, 2048, 22, 32, 4, 64, 5632},
                                                            {Family::gpt2, 50257, 1024, 12, 12, 12, 64, 3072},
                                                            {Family::opt, 50272, 2048, 12, 12, 12, 64, 3072},
                                                            {Family::opt, 50272, 2048, 24, 32, 32, 64, 8192},
                                                            {Family::opt, 50272, 2048, 32, 32, 32, 128, 16384}}};
    const auto at = static_cast<std::size_t>(std::ranges::find(known_shapes, name) - known_shapes.begin());
    if (at == known.size()) return {};
    const Known& shape = known[at];
    TransformerConfig c = choices_of(shape.family);
    c.name = name;
    c.vocab = shape.vocab;
    c.window = shape.window;
    c.layers = shape.layers;
    c.width = shape.heads * shape.head_dim;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    if (c.positions == Positions::rotary) c.rotary_dim = shape.head_dim;
    c.hidden = shape.hidden;
    c.norm_epsilon = 1e-5f;
    return c;
}

FLASHBACK_DETAIL_ONCE std::shared_ptr<const Transformer> random_transformer(const TransformerConfig& config, DType type,
                                                                            std::uint64_t seed, ExecutorRef executor) {
    check_shape(config);
    detail::RandomMatrices matrices{type, seed, executor};
    auto model = std::make_shared<Transformer>();
    model->config = config;
    model->layers.resize(config.layers);
    if (config.family < Family::gpt2) model->head.emplace();
    each_tensor(
        *model,
        [&](const TensorId&, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& matrix) {
            matrix = matrices.make(outputs, inputs);
        },
        [&](const TensorId& id, std::size_t count, std::vector<float>& vector) {
            vector.assign(count, id.bias ? 0.0f : 1.0f);
        });
    model->rotary_frequencies = rotary_frequencies_of(config);
    model->fingerprint = fingerprint(*model, executor);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA

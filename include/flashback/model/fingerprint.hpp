/// \file A number that tells models in memory, or adapters, apart.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The hash of a matrix: shape, type and weights.
inline std::uint64_t fingerprint(const simd::PackedMatrix& w) noexcept {
    Fingerprint one;
    for (const std::uint64_t part :
         {std::uint64_t{w.outputs()}, std::uint64_t{w.inputs()}, static_cast<std::uint64_t>(w.type())})
        one.add(part);
    for (std::size_t p = 0; p < w.panels(); ++p) one.add(w.panel_weights(p));
    return one.value();
}

/// The fingerprint of a model that was made in memory: of its hyper-parameters and all weights, whatever they were made from. A
/// model from a file has the fingerprint of the file (`fingerprint(const GgufFile&)`), so the two kinds never agree.
/// Cost      reads all weights once, the matrices in parallel if an executor is given
inline std::uint64_t fingerprint(const Transformer& model, ExecutorRef executor = {}) {
    Fingerprint all;
    const TransformerConfig& c = model.config;
    for (const std::size_t part :
         {c.vocab, c.window, c.layers, c.width, c.embedding_width, c.heads, c.kv_heads, c.head_dim, c.rotary_dim, c.hidden,
          static_cast<std::size_t>(c.norm), static_cast<std::size_t>(std::bit_cast<std::uint32_t>(c.norm_epsilon)),
          static_cast<std::size_t>(c.post_norm), static_cast<std::size_t>(c.final_norm), static_cast<std::size_t>(c.positions),
          c.position_offset, static_cast<std::size_t>(c.activation), static_cast<std::size_t>(c.gated)})
        all.add(std::uint64_t{part});
    all.add(std::as_bytes(std::span{model.rotary_frequencies}));
    if (!c.causal) all.add(std::uint64_t{1});

    std::vector<const simd::PackedMatrix*> matrices;
    each_tensor(
        model,
        [&](const TensorId&, std::size_t, std::size_t, const simd::PackedMatrix& matrix) { matrices.push_back(&matrix); },
        [&](const TensorId&, std::size_t, const std::vector<float>& vector) { all.add(std::as_bytes(std::span{vector})); });
    std::vector<std::uint64_t> values(matrices.size());
    executor.run(matrices.size(), [&](std::size_t i) { values[i] = fingerprint(*matrices[i]); });
    for (const std::uint64_t value : values) all.add(value);
    return all.value();
}

/// The fingerprint of an adapter: of everything that changes what it does.
inline std::uint64_t fingerprint(const Adapter& adapter) {
    Fingerprint all;
    for (const AdapterLayer& layer : adapter.layers) {
        for (const LoraPair& pair : layer.pairs) {
            all.add(std::uint64_t{pair.rank});
            all.add(std::uint64_t{std::bit_cast<std::uint32_t>(pair.scale)});
            all.add(std::as_bytes(std::span{pair.a}));
            all.add(std::as_bytes(std::span{pair.b}));
        }
    }
    all.add(std::as_bytes(std::span{adapter.embedding_ids}));
    all.add(std::as_bytes(std::span{adapter.embedding_rows}));
    return all.value();
}

}  // namespace flashback::inline FLASHBACK_ISA

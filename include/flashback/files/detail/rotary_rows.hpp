/// \file The rows of queries and keys in the order of Hugging Face's Llama, and in ours.
#pragma once

#include "flashback/model/transformer.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Where a row in Hugging Face's order stands in ours. Their rotation pairs the elements i and rotary_dim / 2 + i of a head;
/// GGUF models, and ours, pair the elements 2 i and 2 i + 1. So the rows of q and k are moved; the others stay.
/// Source    ggml-org/llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute
inline std::size_t row_from_halves(const TransformerConfig& c, LinearModule m, std::size_t row) noexcept {
    const std::size_t in_head = row % c.head_dim;
    if ((m != LinearModule::q && m != LinearModule::k) || in_head >= c.rotary_dim) return row;
    const std::size_t half = c.rotary_dim / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

/// The other way: where a row in our order stands in Hugging Face's.
inline std::size_t row_in_halves(const TransformerConfig& c, LinearModule m, std::size_t row) noexcept {
    const std::size_t in_head = row % c.head_dim;
    if ((m != LinearModule::q && m != LinearModule::k) || in_head >= c.rotary_dim) return row;
    return row - in_head + in_head % 2 * (c.rotary_dim / 2) + in_head / 2;
}

/// Moves rows from Hugging Face's order into ours.
/// Shape     values (outputs of m, inputs) row-major
inline std::vector<float> from_halves(const TransformerConfig& c, LinearModule m, const std::vector<float>& values,
                                      std::size_t inputs) {
    std::vector<float> ours(values.size());
    for (std::size_t row = 0; row < c.outputs(m); ++row)
        std::copy_n(values.data() + row * inputs, inputs, ours.data() + row_from_halves(c, m, row) * inputs);
    return ours;
}

/// The same in the other direction.
inline std::vector<float> to_halves(const TransformerConfig& c, LinearModule m, const std::vector<float>& values,
                                    std::size_t inputs) {
    std::vector<float> theirs(values.size());
    for (std::size_t row = 0; row < c.outputs(m); ++row)
        std::copy_n(values.data() + row_from_halves(c, m, row) * inputs, inputs, theirs.data() + row * inputs);
    return theirs;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file An adapter that is ready to run: packed once, immutable, shared by any number of sessions.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a session adds to one linear layer.
struct PackedLora {
    simd::PackedMatrix a;  ///< (rank, inputs) of f32
    simd::PackedMatrix b;  ///< (outputs, rank) of f32
    float scale = 0;       ///< what the product is multiplied by

    /// Whether the layer has one.
    bool present() const noexcept { return a.outputs() > 0; }
};

/// The matrices of an adapter in panels, and its embedding rows by token.
class PackedAdapter {
public:
    /// Throws    Error{contract} if the adapter does not fit the model; std::bad_alloc
    /// Cost      4 bytes for each parameter, and 4 bytes for each token if rows are replaced
    PackedAdapter(const Adapter& adapter, const TransformerConfig& model);

    /// Whether the model has the shape for which the adapter was packed.
    bool fits(const TransformerConfig& model) const noexcept;

    /// What is added to a linear layer; null if nothing is.
    const PackedLora* lora(std::size_t layer, LinearModule m) const noexcept;

    /// The row that replaces the input embedding of a token, or that a token beyond the model has as its embedding; null if
    /// there is none.
    /// Shape     (row_width)
    const float* embedding_row(TokenId token) const noexcept;

    /// The tokens whose input embedding is replaced.
    const std::vector<TokenId>& embedding_ids() const noexcept { return ids_; }
    /// The greatest rank.
    std::size_t most_rank() const noexcept { return most_rank_; }
    /// The fingerprint of the adapter.
    std::uint64_t fingerprint() const noexcept { return fingerprint_; }

private:
    struct Sides {
        std::size_t outputs = 0, inputs = 0;
        bool operator==(const Sides&) const = default;
    };

    static simd::PackedMatrix packed(const std::vector<float>& values, std::size_t outputs, std::size_t inputs);

    std::size_t row_width_ = 0;
    std::size_t vocab_ = 0;
    std::array<Sides, linear_modules.size()> sides_{};
    std::vector<std::array<PackedLora, linear_modules.size()>> layers_;
    std::size_t most_rank_ = 0;
    std::vector<TokenId> ids_;
    std::vector<float> rows_;            ///< (ids, row_width)
    std::vector<std::uint32_t> row_of_;  ///< for each token, also those beyond the model: its row + 1, or 0
    std::uint64_t fingerprint_;
};

/// An adapter in use, or none.
struct AdapterUse {
    const PackedAdapter* adapter = nullptr;  ///< null: none
    float scale = 1;                         ///< of what LoRA adds; it does not change replaced embedding rows
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/model/detail/packed_adapter.hpp"
#endif

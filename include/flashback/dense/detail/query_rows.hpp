/// \file Queries in the form that kernels want.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/dense/detail/vector_rows.hpp"
#include "flashback/simd/dot_rows.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Copies of queries that end in zeros, normalised if the vectors are.
class QueryRows {
public:
    QueryRows(std::span<const float> queries, std::size_t dimension, bool normalise)
        : stride_(simd::padded(dimension)), count_(queries.size() / dimension), values_(stride_ * count_) {
        FLASHBACK_ASSERT(queries.size() % dimension == 0, "queries of dimension ", dimension, " cannot be ", queries.size(),
                         " floats, expected a multiple");
        for (std::size_t q = 0; q < count_; ++q) {
            const auto query = queries.subspan(q * dimension, dimension);
            const auto bad = std::ranges::find_if(query, [](float x) { return !std::isfinite(x); });
            FLASHBACK_ASSERT(bad == query.end(), "element ", bad - query.begin(), " of query ", q, " is not finite: found ",
                             *bad);
            float* const to = values_.data() + q * stride_;
            std::ranges::copy(query, to);
            std::fill(to + dimension, to + stride_, 0.0f);
            if (normalise) normalise_vector(query, to);
        }
    }

    std::size_t size() const noexcept { return count_; }
    const float* row(std::size_t q) const noexcept { return values_.data() + q * stride_; }
    simd::DotRows<float> rows() const noexcept { return {values_.data(), stride_, count_}; }

private:
    std::size_t stride_, count_;
    AlignedBuffer<float> values_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

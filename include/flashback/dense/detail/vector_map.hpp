/// \file Linear maps of vectors: their use, and their files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/dense/vector_map.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/simd/dot_rows.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE VectorMap::VectorMap(std::vector<float> mean, std::vector<float> matrix)
    : mean_(std::move(mean)), matrix_(std::move(matrix)) {
    FLASHBACK_ASSERT(!mean_.empty() && !matrix_.empty() && matrix_.size() % mean_.size() == 0, "a map of vectors of dimension ",
                     mean_.size(), " with a matrix of ", matrix_.size(), " numbers, expected whole rows, at least one");
    const auto finite = [](float x) { return std::isfinite(x); };
    FLASHBACK_ASSERT(std::ranges::all_of(mean_, finite) && std::ranges::all_of(matrix_, finite),
                     "a map of vectors has a number that is not finite");
}

FLASHBACK_DETAIL_ONCE VectorMap VectorMap::load(const std::filesystem::path& path) {
    const auto file = SafetensorsFile::open(path);
    const auto numbers = [&](std::string_view name, std::size_t dimensions) {
        const SafeTensor* const tensor = file.tensor(name);
        if (tensor == nullptr || tensor->type != DType::f32 || tensor->shape.size() != dimensions || tensor->data.empty()) {
            FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' is no map of vectors: it has no tensor '", name,
                            "' of F32 and ", dimensions, " dimensions that are not 0");
        }
        std::vector<float> values(tensor->data.size() / sizeof(float));
        std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
        if (!std::ranges::all_of(values, [](float x) { return std::isfinite(x); }))
            FLASHBACK_THROW(ErrorCode::format, "the tensor '", name, "' of '", file.name(),
                            "' has a number that is not finite");
        return values;
    };
    std::vector<float> mean = numbers("mean", 1);
    std::vector<float> matrix = numbers("matrix", 2);
    if (file.tensor("matrix")->shape[1] != mean.size()) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' is no map of vectors: its mean has dimension ", mean.size(),
                        ", but the rows of its matrix ", file.tensor("matrix")->shape[1]);
    }
    return VectorMap{std::move(mean), std::move(matrix)};
}

FLASHBACK_DETAIL_ONCE void VectorMap::save(const std::filesystem::path& path) const {
    SafetensorsWriter writer{path};
    writer.add_tensor("mean", {dimension()}, DType::f32);
    writer.add_tensor("matrix", {reduced(), dimension()}, DType::f32);
    writer.write(std::as_bytes(mean()));
    writer.write(std::as_bytes(matrix()));
    writer.finish();
}

FLASHBACK_DETAIL_ONCE void VectorMap::apply(std::span<const float> vectors, std::span<float> out) const {
    const std::size_t width = dimension();
    const std::size_t height = reduced();
    const std::size_t count = vectors.size() / width;
    FLASHBACK_ASSERT(vectors.size() == count * width && out.size() == count * height, vectors.size(), " floats are mapped to ",
                     out.size(), ", expected a multiple of ", width, " and as many times ", height);
    const std::size_t stride = simd::padded(width);
    const auto in_rows = [&](std::span<const float> from, std::span<const float> less) {
        AlignedBuffer<float> rows{from.size() / width * stride};
        std::fill_n(rows.data(), rows.size(), 0.0f);
        for (std::size_t i = 0; i < from.size(); ++i)
            rows[i / width * stride + i % width] = from[i] - (less.empty() ? 0.0f : less[i % width]);
        return rows;
    };
    const AlignedBuffer<float> rows = in_rows(matrix_, {});
    const AlignedBuffer<float> queries = in_rows(vectors, mean_);
    simd::dot_rows<float>({rows.data(), stride, height}, {queries.data(), stride, count}, stride, {out.data(), height});
}

}  // namespace flashback::inline FLASHBACK_ISA

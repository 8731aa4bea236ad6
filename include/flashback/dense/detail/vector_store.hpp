/// \file Adding vectors, and files of them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/dense/detail/vector_rows.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/byte_reader.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a file begins with.
struct VectorStore::Start {
    std::array<std::uint64_t, 8> words;

    Start(const VectorStore& store, std::uint64_t checksum) noexcept
        : words{0,
                detail::vector_file_version,
                static_cast<std::uint64_t>(store.element()),
                store.dimension(),
                store.size(),
                store.normalised() ? 1u : 0u,
                checksum,
                0} {
        std::memcpy(words.data(), detail::vector_file_magic.data(), sizeof(words[0]));
        words[7] = own_checksum();
    }
    explicit Start(ByteReader& reader) {
        for (std::uint64_t& word : words) word = reader.number<std::uint64_t>("start");
    }

    std::uint64_t own_checksum() const noexcept { return Fingerprint::of(std::as_bytes(std::span{words}.first<7>())); }
};

FLASHBACK_DETAIL_ONCE VectorStore::VectorStore(std::size_t dimension, const VectorOptions& options)
    : options_(options), dimension_(dimension), name_("vectors in memory") {
    FLASHBACK_ASSERT(detail::with_vector_element(options.element, [](auto) {}), "vectors of ", layout_of(options.element).name,
                     ", expected F32, F16 or I8");
    FLASHBACK_ASSERT(dimension > 0 && dimension <= most_dimension, "vectors of dimension ", dimension, ", expected 1 to ",
                     most_dimension);
    row_bytes_ = detail::vector_row_bytes(options.element, dimension);
}

FLASHBACK_DETAIL_ONCE void VectorStore::add(std::span<const float> vectors) {
    FLASHBACK_ASSERT(!from_file_, "the vectors of the file '", name_, "' cannot be added to");
    FLASHBACK_ASSERT(vectors.size() % dimension_ == 0, "vectors of dimension ", dimension_, " cannot be ", vectors.size(),
                     " floats, expected a multiple");
    const std::size_t count = vectors.size() / dimension_;
    std::vector<float> one(dimension_);
    const auto vector = [&](std::size_t i) -> const float* {
        const float* const from = vectors.data() + i * dimension_;
        if (!options_.normalise) return from;
        detail::normalise_vector({from, dimension_}, one.data());
        return one.data();
    };
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t k = 0; k < dimension_; ++k) {
            FLASHBACK_ASSERT(std::isfinite(vectors[i * dimension_ + k]), "element ", k, " of vector ", size_ + i,
                             " is not finite: found ", vectors[i * dimension_ + k]);
        }
        if (!options_.normalise) check_fits(vector(i), size_ + i);  // what is normalised is at most 1
    }
    reserve(size_ + count);
    for (std::size_t i = 0; i < count; ++i) store(vector(i), size_ + i);
    size_ += count;
}

FLASHBACK_DETAIL_ONCE void VectorStore::check_fits(const float* vector, std::size_t number) const {
    if (options_.element == DType::f32) return;
    constexpr float most_half = 65504;
    for (std::size_t k = 0; k < dimension_; ++k) {
        if (std::fabs(vector[k]) <= most_half) continue;
        // In i8 the greatest magnitude becomes 127 steps, which may be a little more.
        const bool fits = options_.element == DType::f16 ? (float_to_half(vector[k]) & 0x7fffu) < 0x7c00u
                                                         : std::isfinite(simd::int8_step(vector + k, 1) * 127);
        FLASHBACK_ASSERT(fits, "element ", k, " of vector ", number, " is ", vector[k], ", which is too large for ",
                         layout_of(options_.element).name);
    }
}

FLASHBACK_DETAIL_ONCE void VectorStore::reserve(std::size_t vectors) {
    if (vectors * row_bytes_ <= built_rows_.size()) return;
    const std::size_t room = std::max(vectors, 2 * size_);
    auto rows = in_huge_pages(AlignedBuffer<std::byte>{room * row_bytes_});
    auto scales = AlignedBuffer<std::byte>{options_.element == DType::i8 ? room * sizeof(float) : 0};
    if (size_ > 0) std::memcpy(rows.data(), built_rows_.data(), size_ * row_bytes_);
    if (size_ > 0 && scales.size() > 0) std::memcpy(scales.data(), built_scales_.data(), size_ * sizeof(float));
    built_rows_ = std::move(rows);
    built_scales_ = std::move(scales);
}

FLASHBACK_DETAIL_ONCE void VectorStore::store(const float* vector, std::size_t i) noexcept {
    std::byte* const row = built_rows_.data() + i * row_bytes_;
    std::memset(row, 0, row_bytes_);
    if (options_.element == DType::f32) {
        std::memcpy(row, vector, dimension_ * sizeof(float));
    } else if (options_.element == DType::f16) {
        simd::round_row(vector, dimension_, reinterpret_cast<simd::Half*>(row));
    } else {
        const float step = simd::int8_step(vector, dimension_);
        auto* const to = reinterpret_cast<simd::Int8*>(row);
        for (std::size_t k = 0; k < dimension_; ++k) to[k] = simd::in_steps(vector[k], step);
        std::memcpy(built_scales_.data() + i * sizeof(float), &step, sizeof step);
    }
}

FLASHBACK_DETAIL_ONCE void VectorStore::read(std::size_t i, std::span<float> to) const {
    FLASHBACK_ASSERT(i < size_ && to.size() == dimension_, "vector ", i, " as ", to.size(), " floats, expected one of ", size_,
                     " vectors of dimension ", dimension_);
    const float factor = scale(i);
    detail::with_vector_element(options_.element, [&](auto element) {
        const auto* const from = row<decltype(element)>(i);
        for (std::size_t k = 0; k < dimension_; ++k) to[k] = simd::to_float(from[k]) * factor;
    });
}

FLASHBACK_DETAIL_ONCE std::uint64_t VectorStore::checksum() const noexcept {
    return from_file_ ? file_checksum_ : computed_checksum();
}

FLASHBACK_DETAIL_ONCE std::uint64_t VectorStore::computed_checksum() const noexcept {
    Fingerprint sum;
    sum.add(std::span{rows(), size_ * row_bytes_});
    if (options_.element == DType::i8) sum.add(std::span{scales(), size_ * sizeof(float)});
    return sum.value();
}

FLASHBACK_DETAIL_ONCE void VectorStore::save(const std::filesystem::path& path) const {
    AtomicFile file{path};
    const Start start{*this, computed_checksum()};
    file.write(std::as_bytes(std::span{start.words}));
    file.write(std::span{rows(), size_ * row_bytes_});
    if (options_.element == DType::i8) file.write(std::span{scales(), size_ * sizeof(float)});
    file.finish();
}

FLASHBACK_DETAIL_ONCE VectorStore VectorStore::open(const std::filesystem::path& path, FileAccess access) {
    MappedFile file{path, access};
    const auto bytes = file.bytes();
    return VectorStore{std::move(file), bytes, path.string()};
}

FLASHBACK_DETAIL_ONCE VectorStore VectorStore::view(std::span<const std::byte> bytes, std::string name) {
    FLASHBACK_ASSERT(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) == 0, "the bytes of '", name,
                     "' do not begin at a multiple of ", alignof(float));
    return VectorStore{std::nullopt, bytes, std::move(name)};
}

FLASHBACK_DETAIL_ONCE VectorStore::VectorStore(std::optional<MappedFile> file, std::span<const std::byte> bytes,
                                               std::string name)
    : from_file_(true), file_(std::move(file)), name_(std::move(name)) {
    ByteReader reader{bytes, name_};
    if (bytes.size() < sizeof(Start::words) || std::memcmp(bytes.data(), detail::vector_file_magic.data(), 8) != 0)
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' is no file of vectors");
    const Start start{reader};
    const auto& [magic, version, element, dimension, vectors, normalised, checksum, own] = start.words;
    if (version != detail::vector_file_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the file of vectors '", name_, "' has version ", version, ", expected ",
                        detail::vector_file_version, " (little-endian)");
    }
    if (own != start.own_checksum()) damaged("its start does not give its checksum");
    if (element > UINT32_MAX || !detail::with_vector_element(static_cast<DType>(element), [](auto) {}))
        damaged("it has elements of no known type");
    if (dimension == 0 || dimension > most_dimension) damaged("it has vectors of an impossible dimension");
    if (normalised > 1) damaged("its vectors are neither normalised nor not");
    options_ = {static_cast<DType>(element), normalised == 1};
    dimension_ = static_cast<std::size_t>(dimension);
    row_bytes_ = detail::vector_row_bytes(options_.element, dimension_);
    const std::size_t each = row_bytes_ + (options_.element == DType::i8 ? sizeof(float) : 0);
    if (vectors > reader.left() / each || vectors * each != reader.left())
        damaged(std::to_string(reader.left()) + " bytes are no " + std::to_string(vectors) + " vectors of " +
                std::to_string(each));
    size_ = static_cast<std::size_t>(vectors);
    bytes_ = reader.take(reader.left(), "vectors");
    file_checksum_ = checksum;
}

FLASHBACK_DETAIL_ONCE void VectorStore::verify() const {
    if (from_file_ && computed_checksum() != file_checksum_) damaged("its vectors do not give their checksum");
    std::vector<float> vector(dimension_);
    for (std::size_t i = 0; i < size_; ++i) {
        read(i, vector);
        const auto bad = std::ranges::find_if(vector, [](float x) { return !std::isfinite(x); });
        if (bad != vector.end())
            damaged("element " + std::to_string(bad - vector.begin()) + " of vector " + std::to_string(i) + " is not finite");
    }
}

FLASHBACK_DETAIL_ONCE void VectorStore::damaged(const std::string& why) const {
    FLASHBACK_THROW(ErrorCode::format, "the file of vectors '", name_, "' is damaged: ", why);
}

}  // namespace flashback::inline FLASHBACK_ISA

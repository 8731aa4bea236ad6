/// \file Vectors in memory or in a file: what is searched.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/fwd.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// How vectors are stored.
struct VectorOptions {
    DType element = DType::f32;  ///< f32, f16, or i8: whole numbers, with one scale for each vector
    bool normalise = false;      ///< whether each vector is scaled to length 1 when it is added; one of zeros stays
};

/// Vectors of one dimension, as f32, f16 or i8 with a scale for each. They are added in memory, or mapped from a file: then
/// what is never asked for is never read. Once nothing is added any more, several threads may read at once.
///
/// A file is little-endian, its first numbers are u64:
///
/// | part   | what it holds                                                                                              |
/// |--------|------------------------------------------------------------------------------------------------------------|
/// | start  | `FBVECTOR`, version 1, GGUF's number of the element, dimension, vectors, 1 if normalised else 0, checksum of rows and scales, checksum of all this |
/// | rows   | each begins at a multiple of 64 bytes, and ends in zeros                                                     |
/// | scales | i8 only: an f32 for each vector                                                                              |
///
/// A checksum is a Fingerprint, which finds accidents, not forgeries. `open` checks the start and that the file has exactly the
/// bytes that it asks for, and reads no vector. So it takes no time, and nothing outside of the file is ever read; but vectors
/// that were damaged give other products, up to NaN. `verify` reads all of them and finds that.
class VectorStore {
public:
    /// The largest dimension.
    static constexpr std::size_t most_dimension = std::size_t{1} << 16;

    /// Holds no vector yet.
    /// Throws    Error{contract} for a dimension of 0 or beyond `most_dimension`, or another element
    explicit VectorStore(std::size_t dimension, const VectorOptions& options = {});

    /// Adds vectors, all of them or none.
    /// Shape     vectors (any number, dimension())
    /// Throws    Error{contract} if that is no whole number of vectors, if one has an element that is not finite (the sentence
    ///           names both) or is too large for the element type, or if the vectors are those of a file; std::bad_alloc
    void add(std::span<const float> vectors);

    /// Opens a file; MappedFile says what must not happen to it meanwhile.
    /// Throws    Error{io} if it cannot be opened; Error{format} if its start is damaged, it is cut, or it is no file of vectors;
    ///           Error{unsupported} for another version
    /// Cost      reads 64 bytes
    static VectorStore open(const std::filesystem::path& path, FileAccess access = FileAccess::map);

    /// Reads a file that is already in memory and stays there; `name` is what errors call it.
    /// Requires  the bytes begin at a multiple of 4
    /// Throws    as `open`, without Error{io}
    static VectorStore view(std::span<const std::byte> bytes, std::string name);

    /// Writes a file, as a whole or not at all (AtomicFile).
    /// Throws    Error{io}, and then nothing has changed
    void save(const std::filesystem::path& path) const;

    /// Reads every vector of a file and makes sure that it is what was written, and finite.
    /// Throws    Error{format} if not
    void verify() const;

    /// How many vectors it has.
    std::size_t size() const noexcept { return size_; }
    /// How many numbers a vector has.
    std::size_t dimension() const noexcept { return dimension_; }
    /// How a number is stored.
    DType element() const noexcept { return options_.element; }
    /// Whether each vector is divided by its length.
    bool normalised() const noexcept { return options_.normalise; }
    /// Bytes from one row to the next.
    std::size_t row_bytes() const noexcept { return row_bytes_; }

    /// The elements of a vector, then zeros up to a multiple of 16 elements.
    /// Requires  i < size(); Element is that of element()
    template <class Element>
    const Element* row(std::size_t i) const noexcept {
        return reinterpret_cast<const Element*>(rows() + i * row_bytes_);
    }
    /// What the elements of a vector are multiplied with; 1 unless element() is i8.
    /// Requires  i < size()
    float scale(std::size_t i) const noexcept {
        if (options_.element != DType::i8) return 1;
        float scale;
        std::memcpy(&scale, scales() + i * sizeof(float), sizeof(float));
        return scale;
    }
    /// A vector as floats.
    /// Shape     to (dimension())
    /// Requires  i < size()
    void read(std::size_t i, std::span<float> to) const;

    /// A hash of all vectors and how they are stored; in a file it was computed when that was written.
    /// Cost      reads all of them if they are not from a file
    std::uint64_t checksum() const noexcept;

private:
    struct Start;

    VectorStore(std::optional<MappedFile> file, std::span<const std::byte> bytes, std::string name);

    const std::byte* rows() const noexcept { return from_file_ ? bytes_.data() : built_rows_.data(); }
    const std::byte* scales() const noexcept { return from_file_ ? bytes_.data() + size_ * row_bytes_ : built_scales_.data(); }
    std::uint64_t computed_checksum() const noexcept;
    void check_fits(const float* vector, std::size_t number) const;
    void reserve(std::size_t vectors);
    void store(const float* vector, std::size_t i) noexcept;
    [[noreturn]] void damaged(const std::string& why) const;

    VectorOptions options_;
    std::size_t dimension_ = 0;
    std::size_t row_bytes_ = 0;
    std::size_t size_ = 0;
    AlignedBuffer<std::byte> built_rows_;    // with room for more
    AlignedBuffer<std::byte> built_scales_;  // likewise
    bool from_file_ = false;
    std::optional<MappedFile> file_;
    std::span<const std::byte> bytes_;  // rows and scales of a file
    std::uint64_t file_checksum_ = 0;
    std::string name_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/dense/detail/vector_store.hpp"
#endif

/// \file A file of repacked weights, which the next start maps instead of repacking them again.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// What tells at a glance whether a file of weights is of a model file: that one's size, when it was changed, and what its tensors
/// are.
struct WeightsSource {
    FileStamp stamp = {};         ///< of the model file
    std::uint64_t directory = 0;  ///< hash of its metadata, and of the names, types, shapes and places of its tensors

    /// Of a GGUF file.
    /// Throws    Error{unsupported} if the file was given as bytes in memory, which nobody can tell apart at a glance
    static WeightsSource of(const GgufFile& file);

    friend bool operator==(const WeightsSource&, const WeightsSource&) = default;
};

/// A file of repacked weights, mapped into memory: what is never multiplied is never read. `load_model` reads and writes it if
/// LoadOptions::weights_cache names it.
///
/// All numbers are little-endian u64:
///
/// | part      | what it holds                                                                                            |
/// |-----------|----------------------------------------------------------------------------------------------------------|
/// | start     | `FBWEIGHT`, version 1                                                                                    |
/// | matrices  | the panels of each, as simd::PackedMatrix has them in memory; each begins at a multiple of 64 bytes       |
/// | directory | simd::packing_version; of the model file its size, its time in ns since 1970, the hash of its metadata and of the names, types, shapes and places of its tensors; the model's fingerprint; and for each matrix, in the order of `each_tensor`: GGUF's number of its type, outputs, inputs, where it begins, its checksum |
/// | end       | bytes of the directory, checksum of start and directory                                                  |
///
/// A checksum is a Fingerprint, which finds accidents, not forgeries; so nothing that the file says is believed without a look at
/// how long it is. Those of the matrices are compared by `verify` only, because that reads all of them.
class WeightsCache {
public:
    /// What a matrix is.
    struct Shape {
        DType type = DType::f32;  ///< of its weights
        std::size_t outputs = 0;  ///< rows
        std::size_t inputs = 0;   ///< columns

        friend bool operator==(const Shape&, const Shape&) = default;
    };

    /// Opens a file; MappedFile says what must not happen to it meanwhile.
    /// Throws    Error{io} if it cannot be opened; Error{format} if it is damaged or no file of weights; Error{unsupported} for
    ///           another version, or weights that were packed in another way
    /// Cost      reads the directory: 40 bytes for each matrix
    static WeightsCache open(const std::filesystem::path& path) {
        auto file = std::make_shared<const MappedFile>(path);
        const auto bytes = file->bytes();
        return WeightsCache{std::move(file), bytes, path.string()};
    }

    /// Reads a file that is already in memory and stays there; `name` is what errors call it.
    /// Throws    as `open`, without Error{io}
    static WeightsCache view(std::span<const std::byte> bytes, std::string name) {
        return WeightsCache{nullptr, bytes, std::move(name)};
    }

    /// Writes a file, which appears as a whole or not at all (AtomicFile).
    /// Throws    as AtomicFile
    /// Cost      reads the weights once, and writes as many bytes
    static void write(const std::filesystem::path& path, const WeightsSource& source, std::uint64_t fingerprint,
                      std::span<const simd::PackedMatrix* const> matrices);

    /// What the file was made of.
    const WeightsSource& source() const noexcept { return source_; }
    /// Transformer::fingerprint of the model.
    std::uint64_t fingerprint() const noexcept { return fingerprint_; }
    /// Number of matrices.
    std::size_t size() const noexcept { return index_.size() / entry_bytes; }

    /// What matrix i is.
    Shape shape(std::size_t i) const noexcept;
    /// Matrix i, a view that keeps the file mapped.
    simd::PackedMatrix matrix(std::size_t i) const;

    /// Compares the checksum of each matrix.
    /// Throws    Error{format} if one differs
    /// Cost      reads all weights once, the matrices in parallel if an executor is given
    void verify(ExecutorRef executor = {}) const;

private:
    struct Entry {
        std::uint64_t type, outputs, inputs, place, checksum;
    };
    static constexpr std::size_t entry_bytes = sizeof(Entry);

    WeightsCache(std::shared_ptr<const MappedFile> file, std::span<const std::byte> bytes, std::string name);

    void read_directory(std::span<const std::byte> directory);
    void check_index(std::size_t end) const;
    Entry entry(std::size_t i) const noexcept;
    std::span<const std::byte> panels(std::size_t i) const;
    [[noreturn]] void damaged(const std::string& why) const;

    std::shared_ptr<const MappedFile> file_;
    std::span<const std::byte> bytes_;
    std::string name_;
    WeightsSource source_;
    std::uint64_t fingerprint_ = 0;
    std::span<const std::byte> index_;
};

/// Where the repacked weights of a model file lie by default: beside it, `model.gguf.weights`.
inline std::filesystem::path weights_cache_beside(std::filesystem::path model) { return model += ".weights"; }

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/weights_cache.hpp"
#endif

/// \file Writes safetensors files, as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Writes a safetensors file: first the header, then the tensors' bytes in the order in which they were added, in pieces of any
/// size. The file appears when it is finished, or not at all (AtomicFile).
///
///     SafetensorsWriter writer{"out.safetensors"};
///     writer.add_tensor("weight", {2, 3}, DType::f32);
///     writer.write(std::as_bytes(std::span{numbers}));
///     writer.finish();
///
/// Source    huggingface/safetensors, README.md, "Format"
class SafetensorsWriter {
public:
    /// Creates the temporary file.
    /// Throws    as AtomicFile
    explicit SafetensorsWriter(const std::filesystem::path& target) : file_(target) {}

    /// Sets a text of `__metadata__`.
    /// Requires  nothing was written yet
    SafetensorsWriter& set_metadata(std::string_view key, std::string_view text);

    /// Announces the next tensor.
    /// Shape     shape: the last dimension runs fastest
    /// Requires  nothing was written yet; a name in UTF-8 that no other tensor has and that is not `__metadata__`; F32, F16,
    ///           BF16, F64 or I8 to I64; less than 2^62 bytes
    /// Throws    Error{contract} otherwise
    SafetensorsWriter& add_tensor(std::string_view name, std::vector<std::uint64_t> shape, DType type);

    /// Appends bytes to the data; the first call writes the header.
    /// Requires  at most as many bytes as all tensors still lack
    /// Throws    Error{contract} otherwise; Error{io} if the disk is full or fails
    void write(std::span<const std::byte> bytes);

    /// Makes sure that all bytes are on the disk, but does not make the file appear; see AtomicFile::sync.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed
    void sync();

    /// Makes the file appear under its name.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed
    void finish();

private:
    void start();

    void check_complete();

    AtomicFile file_;
    JsonTree::Object metadata_;
    JsonTree::Object tensors_;
    std::unordered_set<std::string> names_;
    bool started_ = false;
    std::uint64_t end_ = 0;      ///< of the data, as announced
    std::uint64_t written_ = 0;  ///< bytes of the data
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/write_safetensors.hpp"
#endif

/// \file Reads safetensors files: untrusted bytes go in, checked tensors come out.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// One tensor of a safetensors file.
struct SafeTensor {
    std::string name;                  ///< as the file has it
    std::string_view dtype;            ///< as the file names it, e.g. "BF16"
    std::optional<DType> type;         ///< the same type here; none for BOOL, U8 to U64, F8_E5M2 and F8_E4M3
    std::vector<std::uint64_t> shape;  ///< the last dimension runs fastest; none for a single number
    std::span<const std::byte> data;   ///< in the file, at any address
};

/// A safetensors file whose header was checked; the tensors are views into it.
///
/// Everything is checked when the file is opened, and nothing is allocated that the size of the header does not justify.
/// Checked are:
/// - the header's length, against the file and against 100,000,000 bytes;
/// - that the header begins with `{` and is JSON of the expected form and nothing else (it may end in spaces);
/// - that no name occurs twice;
/// - shapes times element size, against the offsets;
/// - that the data, in order of the offsets, follow each other without a gap from the first byte to the last.
/// Source    huggingface/safetensors, README.md, "Format"
class SafetensorsFile {
public:
    /// Opens a file; MappedFile says what must not happen to it meanwhile.
    /// Throws    Error{io}, Error{format}; Error{unsupported} for an element type that is not known
    static SafetensorsFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map);

    /// Reads bytes that outlive it.
    /// Throws    Error{format}; Error{unsupported} for an element type that is not known
    static SafetensorsFile view(std::span<const std::byte> bytes, std::string name);

    /// The name that errors mention.
    const std::string& name() const noexcept { return name_; }

    /// All tensors, in the order of their data.
    const std::vector<SafeTensor>& tensors() const noexcept { return tensors_; }

    /// A tensor, or null if there is none of that name.
    const SafeTensor* tensor(std::string_view name) const {
        const auto found = index_.find(name);
        return found == index_.end() ? nullptr : &tensors_[found->second];
    }

    /// The texts of `__metadata__`, in the order of the file.
    const std::vector<std::pair<std::string, std::string>>& metadata() const noexcept { return metadata_; }

    /// Says that a part will not be read soon; see MappedFile::release.
    void release(std::span<const std::byte> part) const noexcept {
        if (mapped_) mapped_->release(part);
    }

private:
    SafetensorsFile() = default;

    std::string name_;
    std::unique_ptr<MappedFile> mapped_;
    std::vector<SafeTensor> tensors_;
    std::unordered_map<std::string_view, std::size_t> index_;
    std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_safetensors.hpp"
#endif

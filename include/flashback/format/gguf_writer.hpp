/// \file Writes GGUF files, as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/detail/gguf_limits.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/tensor/dtype.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Writes a GGUF file of version 3: first all metadata and the shapes of all tensors, then the tensors' bytes in that order, in
/// pieces of any size. The target is an AtomicFile: a writer that is destroyed before `finish` has changed nothing.
///
///     GgufWriter writer{"out.gguf"};
///     writer.copy_metadata(file).set("general.file_type", 7u);
///     for (const GgufTensor& t : file.tensors()) writer.add_tensor(t.name, std::span{t.dims}.first(t.rank), t.type);
///     for (const GgufTensor& t : file.tensors()) writer.write(t.data);
///     writer.finish();
///
/// Source    The GGUF specification, ggml-org/ggml docs/gguf.md, version 3
class GgufWriter {
public:
    /// Creates the temporary file. So a target that cannot be written is found before any work is done. A target that exists
    /// will be replaced; if it is a symbolic link, the link stays and the file that it points to is replaced.
    /// Throws    Error{io} if that is impossible, or if the target exists and is not a regular file
    explicit GgufWriter(const std::filesystem::path& target) : file_(target) {}

    /// Copies, byte for byte, the metadata of a file whose keys begin with `prefix`; by default all. Keys that are there
    /// already are replaced.
    /// Requires  nothing was written yet
    GgufWriter& copy_metadata(const GgufFile& file, std::string_view prefix = {});

    /// Replaces an entry, or adds it after the others.
    /// Requires  nothing was written yet; a key of 1 to 65535 characters without NUL; general.alignment is a power of two up to
    ///           2^20
    /// Throws    Error{contract} otherwise
    GgufWriter& set(std::string_view key, std::uint32_t number);
    GgufWriter& set(std::string_view key, std::same_as<float> auto number) { return set_float(key, number); }
    GgufWriter& set(std::string_view key, std::string_view text);
    GgufWriter& set(std::string_view key, std::same_as<bool> auto value) { return set_bool(key, value); }

    /// The same for lists: of texts, or of numbers of type float or std::int32_t.
    GgufWriter& set_list(std::string_view key, std::span<const std::string> texts);
    template <class T>
    requires std::same_as<T, float> || std::same_as<T, std::int32_t> GgufWriter& set_list(std::string_view key,
                                                                                          std::span<const T> numbers) {
        std::string bytes = list_bytes(key, std::same_as<T, float> ? GgufType::f32 : GgufType::i32, numbers.size());
        bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
        put(key, bytes);
        return *this;
    }

    /// Announces the next tensor.
    /// Shape     dims: the first runs fastest
    /// Requires  nothing was written yet; a name of 1 to 63 characters that no other tensor has; 1 to 4 dimensions, none of
    ///           them 0; a known type whose blocks fill the rows
    /// Throws    Error{contract} otherwise
    GgufWriter& add_tensor(std::string_view name, std::span<const std::uint64_t> dims, DType type);

    /// Appends bytes to the first tensor that is not complete. The first call writes the metadata. Padding is added where it is
    /// needed.
    /// Requires  at most as many bytes as that tensor still lacks
    /// Throws    Error{contract} otherwise; Error{io} if the disk is full or fails
    void write(std::span<const std::byte> bytes);

    /// Makes the file appear under its name.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed, unless the sentence says that only the
    ///           folder could not be written: then the new file is there, but a power failure may bring back the old one
    void finish();

private:
    GgufWriter& set_float(std::string_view key, float number);
    GgufWriter& set_bool(std::string_view key, bool value);
    struct Tensor {
        std::string record;  ///< what the file says of the tensor, without the offset
        std::uint64_t bytes;
    };

    template <class T>
    static std::string number_bytes(T number) {
        std::string bytes(sizeof(T), '\0');
        std::memcpy(bytes.data(), &number, sizeof(T));
        return bytes;
    }
    static std::string string_bytes(std::string_view text) { return number_bytes(std::uint64_t{text.size()}).append(text); }

    static std::string list_bytes(std::string_view key, GgufType type, std::size_t count);

    void put(std::string_view key, std::string_view value);

    void start();

    void pad(std::uint64_t size);

    AtomicFile file_;
    std::vector<std::pair<std::string, std::string>> entries_;
    std::unordered_map<std::string, std::size_t> key_index_;
    std::vector<Tensor> tensors_;
    std::unordered_set<std::string> names_;
    std::size_t alignment_ = 32;
    bool started_ = false;
    std::size_t current_ = 0;    ///< the tensor that is being written
    std::uint64_t written_ = 0;  ///< bytes of it
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/write_gguf.hpp"
#endif

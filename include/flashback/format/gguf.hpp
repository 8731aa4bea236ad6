/// \file GGUF: the model files of the llama.cpp world, read without trusting a single number in them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/byte_reader.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/tensor/dtype.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The type of a metadata value; the numbers are GGUF's.
enum class GgufType : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

/// An array in the metadata, as it lies in the file.
struct GgufArray {
    GgufType type{};                   ///< type of each element
    std::size_t count = 0;             ///< how many elements
    std::span<const std::byte> bytes;  ///< checked: exactly `count` elements
};

/// A metadata value. Integers of all widths become 64 bits wide, and both float types become double.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray>;

/// A tensor of a file.
struct GgufTensor {
    std::string_view name;                          ///< as the file has it
    std::array<std::uint64_t, 4> dims{1, 1, 1, 1};  ///< the first runs fastest: (inputs, outputs) of a linear layer
    std::size_t rank = 0;                           ///< how many of its dimensions count
    DType type{};                                   ///< type of its elements
    std::span<const std::byte> data;                ///< its bytes, in the file
};

/// A GGUF file: metadata by key, tensors by name. Everything that it says of itself (counts, lengths, types, shapes, offsets)
/// is checked against the bytes that are there before anything is allocated. So a hostile file gives an Error.
///
/// Bytes after the last tensor are ignored. Views point into the file and are valid as long as this object lives.
/// Source    The GGUF specification, ggml-org/ggml docs/gguf.md, versions 2 and 3
class GgufFile {
public:
    /// Opens a file; MappedFile says what must not happen to it meanwhile.
    /// Throws    Error{io} if it cannot be opened; Error{format} if it is damaged or not a GGUF file; Error{unsupported} for a
    ///           big-endian file, another version, an unknown tensor type or a part of a split model
    static GgufFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
        MappedFile file{path, access};
        const auto bytes = file.bytes();
        return GgufFile{std::move(file), bytes, path.string()};
    }

    /// Reads a file that is already in memory and stays there; `name` is what errors call it.
    /// Throws    as `open`, without Error{io}
    static GgufFile view(std::span<const std::byte> bytes, std::string name) {
        return GgufFile{std::nullopt, bytes, std::move(name)};
    }

    /// The name that errors mention.
    const std::string& name() const noexcept { return name_; }
    /// Says that a part of the file, such as the data of a tensor, will not be read soon: see MappedFile::release.
    void release(std::span<const std::byte> part) const noexcept {
        if (file_) file_->release(part);
    }
    /// Size and time of the file when it was opened; nothing for a view of bytes.
    std::optional<FileStamp> stamp() const noexcept { return file_ ? std::optional{file_->stamp()} : std::nullopt; }
    /// The version of the format.
    std::uint32_t version() const noexcept { return version_; }
    /// All entries, in the order of the file.
    const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const noexcept { return metadata_; }
    /// All tensors, in the order of the file.
    const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }
    /// The metadata again, in the same order, as it lies in the file: the type and the value of each entry, without the key.
    const std::vector<std::span<const std::byte>>& raw_metadata() const noexcept { return raw_metadata_; }

    /// The value of a key, or nothing.
    const GgufValue* find(std::string_view key) const noexcept {
        const auto it = key_index_.find(key);
        return it == key_index_.end() ? nullptr : &metadata_[it->second].second;
    }

    /// The tensor of a name, or nothing.
    const GgufTensor* tensor(std::string_view name) const noexcept {
        const auto it = tensor_index_.find(name);
        return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
    }

    /// The value of a key as an integer >= 0; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<std::uint64_t> integer(std::string_view key) const {
        const GgufValue* value = find(key);
        if (!value) return {};
        if (const auto* u = std::get_if<std::uint64_t>(value)) return *u;
        if (const auto* i = std::get_if<std::int64_t>(value); i && *i >= 0) return static_cast<std::uint64_t>(*i);
        wrong_type(key, "an integer that is not negative");
    }

    /// The value of a key as a floating-point number; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<double> real(std::string_view key) const { return get<double>(key, "a floating-point number"); }

    /// The value of a key as a bool; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<bool> boolean(std::string_view key) const { return get<bool>(key, "a bool"); }

    /// The value of a key as text; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<std::string_view> text(std::string_view key) const { return get<std::string_view>(key, "a string"); }

    /// The value of a key as an array; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<GgufArray> array(std::string_view key) const { return get<GgufArray>(key, "an array"); }

    /// An array of strings; nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    std::optional<std::vector<std::string_view>> strings(std::string_view key) const {
        const auto found = array(key);
        if (!found) return {};
        if (found->type != GgufType::string) wrong_type(key, "an array of strings");
        ByteReader reader{found->bytes, name_};
        std::vector<std::string_view> strings(found->count);
        for (auto& s : strings) s = reader.string(key);
        return strings;
    }

    /// An array of numbers of exactly the type T (float, std::int32_t or std::uint32_t); nothing if the key is absent.
    /// Throws    Error{format} if the value has another type
    template <class T>
    std::optional<std::vector<T>> numbers(std::string_view key) const {
        constexpr GgufType type = std::is_same_v<T, float>          ? GgufType::f32
                                  : std::is_same_v<T, std::int32_t> ? GgufType::i32
                                                                    : GgufType::u32;
        static_assert(std::is_same_v<T, float> || std::is_same_v<T, std::int32_t> || std::is_same_v<T, std::uint32_t>);
        const auto found = array(key);
        if (!found) return {};
        if (found->type != type)
            wrong_type(key, std::is_same_v<T, float>          ? "an array of f32"
                            : std::is_same_v<T, std::int32_t> ? "an array of i32"
                                                              : "an array of u32");
        std::vector<T> numbers(found->count);
        if (!numbers.empty()) std::memcpy(numbers.data(), found->bytes.data(), found->bytes.size());
        return numbers;
    }

private:
    GgufFile(std::optional<MappedFile> file, std::span<const std::byte> bytes, std::string name);

    template <class T>
    std::optional<T> get(std::string_view key, std::string_view expected) const {
        const GgufValue* value = find(key);
        if (!value) return {};
        if (const T* t = std::get_if<T>(value)) return *t;
        wrong_type(key, expected);
    }

    /// What a value is, for the sentences of errors.
    static std::string describe(const GgufValue& value);

    [[noreturn]] void wrong_type(std::string_view key, std::string_view expected) const {
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "': the value of ", printable(key), " is ", describe(*find(key)),
                        ", expected ", expected);
    }

    void read_metadata(ByteReader& reader, std::uint64_t count);
    void read_tensors(ByteReader& reader, std::uint64_t count);

    std::optional<MappedFile> file_;
    std::string name_;
    std::uint32_t version_ = 0;
    std::vector<std::pair<std::string_view, GgufValue>> metadata_;
    std::vector<std::span<const std::byte>> raw_metadata_;
    std::vector<GgufTensor> tensors_;
    std::unordered_map<std::string_view, std::size_t> key_index_;
    std::unordered_map<std::string_view, std::size_t> tensor_index_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_gguf.hpp"
#endif

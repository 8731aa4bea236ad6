/// \file Writes GGUF files in memory, good ones and (on request) ones that lie.
#pragma once

#include "flashback/format/gguf.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback_test {

/// The bytes of a number, little-endian.
template <class T>
std::string bytes_of(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::string out(sizeof(T), '\0');
    std::memcpy(out.data(), &value, sizeof(T));
    return out;
}

/// A string as GGUF has it: its length in 8 bytes, then its characters.
inline std::string gguf_string(std::string_view text) { return bytes_of<std::uint64_t>(text.size()) + std::string{text}; }

template <class T>
constexpr flashback::GgufType gguf_type_of() {
    using flashback::GgufType;
    if constexpr (std::is_same_v<T, std::uint8_t>) return GgufType::u8;
    if constexpr (std::is_same_v<T, std::int8_t>) return GgufType::i8;
    if constexpr (std::is_same_v<T, std::uint16_t>) return GgufType::u16;
    if constexpr (std::is_same_v<T, std::int16_t>) return GgufType::i16;
    if constexpr (std::is_same_v<T, std::uint32_t>) return GgufType::u32;
    if constexpr (std::is_same_v<T, std::int32_t>) return GgufType::i32;
    if constexpr (std::is_same_v<T, float>) return GgufType::f32;
    if constexpr (std::is_same_v<T, bool>) return GgufType::boolean;
    if constexpr (std::is_same_v<T, std::uint64_t>) return GgufType::u64;
    if constexpr (std::is_same_v<T, std::int64_t>) return GgufType::i64;
    if constexpr (std::is_same_v<T, double>) return GgufType::f64;
}

/// A GGUF file as a list of entries and tensors that may still be changed.
class GgufBytes {
public:
    struct Tensor {
        std::string name;
        std::vector<std::uint64_t> dims;
        std::uint32_t type = 0;
        std::string data;
        std::optional<std::uint64_t> offset = {};  ///< instead of the true one
        std::optional<std::uint32_t> rank = {};    ///< instead of dims.size()
    };

    std::uint32_t version = 3;
    std::uint64_t alignment = 32;  ///< of the data; the key general.alignment is only there if it is set
    std::vector<Tensor> tensors;
    std::optional<std::uint64_t> tensor_count = {};  ///< instead of the true one
    std::optional<std::uint64_t> entry_count = {};   ///< instead of the true one

    /// Adds an entry whose value is given as bytes, even if the key is there already.
    GgufBytes& add(std::string_view key, std::uint32_t type, std::string value) {
        entries_.emplace_back(key, bytes_of(type) + std::move(value));
        return *this;
    }

    /// Replaces or adds an entry.
    GgufBytes& set_bytes(std::string_view key, flashback::GgufType type, std::string value) {
        const auto it = std::ranges::find(entries_, key, &std::pair<std::string, std::string>::first);
        if (it == entries_.end()) return add(key, static_cast<std::uint32_t>(type), std::move(value));
        it->second = bytes_of(type) + std::move(value);
        return *this;
    }
    template <class T>
    requires std::is_arithmetic_v<T> GgufBytes& set(std::string_view key, T value) {
        return set_bytes(key, gguf_type_of<T>(), bytes_of(value));
    }
    GgufBytes& set(std::string_view key, const char* text) {
        return set_bytes(key, flashback::GgufType::string, gguf_string(text));
    }
    template <class T>
    GgufBytes& set_array(std::string_view key, const std::vector<T>& values) {
        std::string bytes;
        flashback::GgufType type;
        if constexpr (std::is_arithmetic_v<T>) {
            type = gguf_type_of<T>();
            for (const T value : values) bytes += bytes_of(value);
        } else {
            type = flashback::GgufType::string;
            for (const T& value : values) bytes += gguf_string(value);
        }
        return set_bytes(key, flashback::GgufType::array, bytes_of(type) + bytes_of<std::uint64_t>(values.size()) + bytes);
    }
    GgufBytes& erase(std::string_view key) {
        std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
        return *this;
    }

    template <class T>
    GgufBytes& add_tensor(std::string_view name, std::vector<std::uint64_t> dims, flashback::DType type,
                          const std::vector<T>& values) {
        std::string data;
        for (const T value : values) data += bytes_of(value);
        tensors.push_back({std::string{name}, std::move(dims), static_cast<std::uint32_t>(type), std::move(data)});
        return *this;
    }
    Tensor& tensor(std::string_view name) { return *std::ranges::find(tensors, name, &Tensor::name); }

    std::string bytes() const {
        std::string out = "GGUF" + bytes_of(version) + bytes_of(tensor_count.value_or(tensors.size())) +
                          bytes_of(entry_count.value_or(entries_.size()));
        for (const auto& [key, value] : entries_) out += gguf_string(key) + value;
        std::uint64_t offset = 0;
        for (const Tensor& t : tensors) {
            out += gguf_string(t.name) + bytes_of(t.rank.value_or(static_cast<std::uint32_t>(t.dims.size())));
            for (const std::uint64_t dim : t.dims) out += bytes_of(dim);
            out += bytes_of(t.type) + bytes_of(t.offset.value_or(offset));
            offset = padded(offset + t.data.size());
        }
        for (const Tensor& t : tensors) {
            out.resize(padded(out.size()));
            out += t.data;
        }
        return out;
    }

private:
    std::size_t padded(std::size_t size) const { return (size + alignment - 1) / alignment * alignment; }

    std::vector<std::pair<std::string, std::string>> entries_;
};

/// Reads bytes, which must outlive the file.
inline flashback::GgufFile view(std::string_view bytes) {
    return flashback::GgufFile::view(std::as_bytes(std::span{bytes.data(), bytes.size()}), "test.gguf");
}

}  // namespace flashback_test

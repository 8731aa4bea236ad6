/// \file The reader of GgufFile: one pass over the file, with every number checked before it is used.
#pragma once

#include "flashback/format/detail/gguf_limits.hpp"
#include "flashback/format/gguf.hpp"

#include <bit>
#include <cctype>
#include <limits>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

// The fewest bytes that a record can have. A count is checked with them before anything is reserved for it.
inline constexpr std::size_t gguf_least_entry = 8 + 1 + 4 + 1;
inline constexpr std::size_t gguf_least_tensor = 8 + 1 + 4 + 8 + 4 + 8;

/// Bytes of one value of a type; 0 for strings, arrays and numbers that name no type.
constexpr std::size_t gguf_bytes(GgufType type) noexcept {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean: return 1;
        case GgufType::u16:
        case GgufType::i16: return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32: return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64: return 8;
        case GgufType::string:
        case GgufType::array: return 0;
    }
    return 0;
}

inline bool gguf_bool(ByteReader& reader, std::string_view key) {
    const auto byte = reader.number<std::uint8_t>(key);
    if (byte > 1)
        FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': the bool of ", printable(key), " is ", unsigned{byte},
                        ", expected 0 or 1");
    return byte == 1;
}

inline GgufArray gguf_array(ByteReader& reader, std::string_view key) {
    const auto type = static_cast<GgufType>(reader.number<std::uint32_t>(key));
    const auto count = reader.number<std::uint64_t>(key);
    const std::size_t begin = reader.position();
    if (type == GgufType::string) {
        if (count > reader.left() / 8) {
            FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': ", printable(key), " says that it has ", count,
                            " strings, but only ", reader.left(), " bytes are left");
        }
        for (std::uint64_t i = 0; i < count; ++i) reader.string(key);
    } else {
        const std::size_t bytes = gguf_bytes(type);
        if (bytes == 0) {
            FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': the array ", printable(key), " has elements of type ",
                            static_cast<std::uint32_t>(type), ", expected numbers, bools or strings");
        }
        if (count > reader.left() / bytes) {
            FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': ", printable(key), " says that it has ", count,
                            " elements of ", bytes, " bytes, but only ", reader.left(), " bytes are left");
        }
        if (type == GgufType::boolean) {
            for (std::uint64_t i = 0; i < count; ++i) gguf_bool(reader, key);
        } else {
            reader.take(count * bytes, key);
        }
    }
    return {type, static_cast<std::size_t>(count), reader.bytes().subspan(begin, reader.position() - begin)};
}

inline GgufValue gguf_value(ByteReader& reader, std::string_view key) {
    const auto type = static_cast<GgufType>(reader.number<std::uint32_t>(key));
    switch (type) {
        case GgufType::u8: return std::uint64_t{reader.number<std::uint8_t>(key)};
        case GgufType::u16: return std::uint64_t{reader.number<std::uint16_t>(key)};
        case GgufType::u32: return std::uint64_t{reader.number<std::uint32_t>(key)};
        case GgufType::u64: return reader.number<std::uint64_t>(key);
        case GgufType::i8: return std::int64_t{reader.number<std::int8_t>(key)};
        case GgufType::i16: return std::int64_t{reader.number<std::int16_t>(key)};
        case GgufType::i32: return std::int64_t{reader.number<std::int32_t>(key)};
        case GgufType::i64: return reader.number<std::int64_t>(key);
        case GgufType::f32: return double{reader.number<float>(key)};
        case GgufType::f64: return reader.number<double>(key);
        case GgufType::boolean: return gguf_bool(reader, key);
        case GgufType::string: return reader.string(key);
        case GgufType::array: return gguf_array(reader, key);
    }
    FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': ", printable(key), " has a value of type ",
                    static_cast<std::uint32_t>(type), ", expected 0 to 12");
}

/// The shape and type of a tensor, and how many bytes it takes.
inline std::uint64_t gguf_tensor_bytes(ByteReader& reader, GgufTensor& tensor) {
    const auto refuse = [&](const auto&... parts) {
        FLASHBACK_THROW(ErrorCode::format, "'", reader.file(), "': tensor ", printable(tensor.name), " ", parts...);
    };
    const auto rank = reader.number<std::uint32_t>("the rank of a tensor");
    if (rank < 1 || rank > 4) refuse("has ", rank, " dimensions, expected 1 to 4");
    tensor.rank = rank;
    std::uint64_t elements = 1;
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    for (std::size_t i = 0; i < rank; ++i) {
        tensor.dims[i] = reader.number<std::uint64_t>("a dimension of a tensor");
        if (tensor.dims[i] == 0 || tensor.dims[i] > most)
            refuse("has dimension ", i, " of ", tensor.dims[i], ", expected 1 to 2^63 - 1");
        if (tensor.dims[i] > most / elements) refuse("has more than 2^63 - 1 elements");
        elements *= tensor.dims[i];
    }
    const auto number = reader.number<std::uint32_t>("the type of a tensor");
    tensor.type = static_cast<DType>(number);
    const DTypeLayout layout = layout_of(tensor.type);
    if (layout.block_elements == 0) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", reader.file(), "': tensor ", printable(tensor.name), " has type number ",
                        number, ", which is not known here");
    }
    if (tensor.dims[0] % layout.block_elements != 0) {
        refuse("has rows of ", tensor.dims[0], " elements, but ", layout.name, " stores blocks of ", layout.block_elements);
    }
    if (elements / layout.block_elements > most / layout.block_bytes) refuse("takes more than 2^63 - 1 bytes");
    return elements / layout.block_elements * layout.block_bytes;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE std::string GgufFile::describe(const GgufValue& value) {
    struct Describe {
        std::string operator()(std::uint64_t number) const { return std::to_string(number); }
        std::string operator()(std::int64_t number) const { return std::to_string(number); }
        std::string operator()(double number) const { return "the floating-point number " + std::to_string(number); }
        std::string operator()(bool) const { return "a bool"; }
        std::string operator()(std::string_view) const { return "a string"; }
        std::string operator()(const GgufArray& array) const {
            return "an array of " + std::to_string(array.count) + " elements of type " +
                   std::to_string(static_cast<unsigned>(array.type));
        }
    };
    return std::visit(Describe{}, value);
}

FLASHBACK_DETAIL_ONCE GgufFile::GgufFile(std::optional<MappedFile> file, std::span<const std::byte> bytes, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
    ByteReader reader{bytes, name_};
    const auto magic = reader.take(4, "the magic number");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
        const std::string_view found{reinterpret_cast<const char*>(magic.data()), 4};
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' is no GGUF file: it starts with '", printable(found),
                        "', expected 'GGUF'");
    }
    version_ = reader.number<std::uint32_t>("the version");
    if (version_ != 2 && version_ != 3) {
        if (version_ == 0x02000000u || version_ == 0x03000000u) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", name_, "' is a big-endian GGUF file, expected little-endian");
        }
        FLASHBACK_THROW(ErrorCode::unsupported, "'", name_, "' has GGUF version ", version_, ", expected 2 or 3");
    }
    const auto tensor_count = reader.number<std::uint64_t>("the number of tensors");
    const auto entry_count = reader.number<std::uint64_t>("the number of metadata entries");
    if (tensor_count > reader.left() / detail::gguf_least_tensor || entry_count > reader.left() / detail::gguf_least_entry) {
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' says that it has ", tensor_count, " tensors and ", entry_count,
                        " metadata entries, which do not fit into the ", reader.left(), " bytes that are left");
    }
    read_metadata(reader, entry_count);
    if (const auto parts = integer("split.count"); parts && *parts > 1) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", name_, "' is part ", integer("split.no").value_or(0) + 1,
                        " of a model split into ", *parts, " files; join them first (llama-gguf-split --merge)");
    }
    read_tensors(reader, tensor_count);
}

FLASHBACK_DETAIL_ONCE void GgufFile::read_metadata(ByteReader& reader, std::uint64_t count) {
    metadata_.reserve(static_cast<std::size_t>(count));
    raw_metadata_.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string_view key = reader.string("a metadata key");
        if (key.empty() || key.size() > detail::gguf_most_key || key.find('\0') != key.npos) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "': metadata key ", i, " has ", key.size(),
                            " characters, expected 1 to ", detail::gguf_most_key, " and none of them NUL");
        }
        if (!key_index_.emplace(key, metadata_.size()).second) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "' has the metadata key ", printable(key), " twice");
        }
        const std::size_t begin = reader.position();
        metadata_.emplace_back(key, detail::gguf_value(reader, key));
        raw_metadata_.push_back(reader.bytes().subspan(begin, reader.position() - begin));
    }
}

FLASHBACK_DETAIL_ONCE void GgufFile::read_tensors(ByteReader& reader, std::uint64_t count) {
    std::vector<std::uint64_t> sizes;
    std::vector<std::uint64_t> offsets;
    tensors_.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
        GgufTensor tensor;
        tensor.name = reader.string("the name of a tensor");
        if (tensor.name.empty() || tensor.name.size() > detail::gguf_most_name || tensor.name.find('\0') != tensor.name.npos) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "': the name of tensor ", i, " has ", tensor.name.size(),
                            " characters, expected 1 to ", detail::gguf_most_name, " and none of them NUL");
        }
        if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "' has the tensor ", printable(tensor.name), " twice");
        }
        sizes.push_back(detail::gguf_tensor_bytes(reader, tensor));
        offsets.push_back(reader.number<std::uint64_t>("the offset of a tensor"));
        tensors_.push_back(tensor);
    }

    std::uint64_t alignment = 32;
    if (const GgufValue* value = find("general.alignment")) {
        const auto* number = std::get_if<std::uint64_t>(value);
        if (!number || !std::has_single_bit(*number) || *number > (1u << 20)) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "': general.alignment is ",
                            number ? std::to_string(*number) : "no unsigned number", ", expected a power of two up to 2^20");
        }
        alignment = *number;
    }
    if (tensors_.empty()) return;
    const auto padding = [alignment](std::uint64_t at) { return (alignment - at % alignment) % alignment; };
    reader.take(padding(reader.position()), "the padding before the tensor data");
    const std::uint64_t data_bytes = reader.left();
    const auto data = reader.take(data_bytes, "the tensor data");
    std::uint64_t expected = 0;  // at every step <= data_bytes + alignment, so no sum below can overflow
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        if (offsets[i] != expected) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "': tensor ", printable(tensors_[i].name), " lies at offset ",
                            offsets[i], ", expected ", expected, " (the end of the tensor before it)");
        }
        if (expected > data_bytes || sizes[i] > data_bytes - expected) {
            FLASHBACK_THROW(ErrorCode::format, "'", name_, "' ends too early: tensor ", printable(tensors_[i].name), " needs ",
                            sizes[i], " bytes at offset ", offsets[i], " of ", data_bytes, " bytes of tensor data");
        }
        tensors_[i].data = data.subspan(static_cast<std::size_t>(expected), static_cast<std::size_t>(sizes[i]));
        expected += sizes[i] + padding(sizes[i]);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA

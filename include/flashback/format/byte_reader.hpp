/// \file Reads a file from front to back and never past its end.
#pragma once

#include "flashback/core/error.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

static_assert(std::endian::native == std::endian::little,
              "flashback: model files are little-endian, and so must the machine be");

/// A position in the bytes of a file. Every read first checks how many bytes are left; nothing is allocated.
class ByteReader {
public:
    /// `file` is the name that errors give the file.
    ByteReader(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

    /// How many bytes were read.
    std::size_t position() const noexcept { return position_; }
    /// How many bytes are left.
    std::size_t left() const noexcept { return bytes_.size() - position_; }
    /// All bytes, those that were read too.
    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    /// The name that errors mention.
    const std::string& file() const noexcept { return file_; }

    /// The next `count` bytes.
    /// Throws    Error{format} if fewer are left; `what` names them
    std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
        if (count > left()) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_, "' ends too early: ", printable(what), " at byte ", position_,
                            " needs ", count, " bytes, but only ", left(), " are left");
        }
        const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
        position_ += taken.size();
        return taken;
    }

    /// The next number.
    template <class T>
    T number(std::string_view what) {
        static_assert(std::is_arithmetic_v<T>);
        T value;
        std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
        return value;
    }

    /// The next string: a length in 8 bytes, then that many characters.
    std::string_view string(std::string_view what) {
        const auto length = number<std::uint64_t>(what);
        const auto text = take(length, what);
        return {reinterpret_cast<const char*>(text.data()), text.size()};
    }

private:
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
    std::string file_;
};

}  // namespace flashback::inline FLASHBACK_ISA

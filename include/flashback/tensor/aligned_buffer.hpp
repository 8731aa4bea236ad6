/// \file Memory for numbers: aligned to a cache line, and not touched before it is written.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// An array of fixed length that begins at a 64-byte border; from 2 MiB on, at the border of a huge page. Its values are
/// indeterminate until they are written.
template <class T>
    requires std::is_trivially_copyable_v<T>
class AlignedBuffer {
public:
    AlignedBuffer() = default;

    /// Throws    std::bad_alloc; std::bad_array_new_length if the values are more bytes than an object can have
    explicit AlignedBuffer(std::size_t count) : data_(allocated(bytes_of(count))), size_(count) {}

    /// Leaves the other buffer empty.
    AlignedBuffer(AlignedBuffer&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        data_ = std::move(other.data_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }

    /// The first element.
    T* data() noexcept { return data_.get(); }
    const T* data() const noexcept { return data_.get(); }
    /// How many elements there are.
    std::size_t size() const noexcept { return size_; }
    /// Element i.
    T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
    const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
    /// All elements.
    operator std::span<T>() noexcept { return {data(), size_}; }
    operator std::span<const T>() const noexcept { return {data(), size_}; }

private:
    static constexpr std::align_val_t alignment{64};
    static constexpr std::size_t huge_page = std::size_t{2} << 20;

    static std::size_t bytes_of(std::size_t count) {
        if (count > PTRDIFF_MAX / sizeof(T)) {
#if defined(__cpp_exceptions)
            throw std::bad_array_new_length{};
#else
            std::abort();
#endif
        }
        return count * sizeof(T);
    }

    struct Free {
        std::align_val_t border = alignment;
        void operator()(T* memory) const noexcept { ::operator delete[](memory, border); }
    };
    using Memory = std::unique_ptr<T, Free>;

    static Memory allocated(std::size_t bytes) {
        const std::align_val_t border = bytes >= huge_page ? std::align_val_t{huge_page} : alignment;
        return Memory{static_cast<T*>(::operator new[](bytes, border)), Free{border}};
    }

    Memory data_;
    std::size_t size_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

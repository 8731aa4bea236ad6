/// \file Memory for numbers: aligned to a cache line, and not touched before it is written.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// An array of fixed length on a 64-byte border. Its values are indeterminate until written.
template <class T>
    requires std::is_trivially_copyable_v<T>
class AlignedBuffer {
public:
    AlignedBuffer() = default;

    /// Throws    std::bad_alloc
    explicit AlignedBuffer(std::size_t count)
        : data_(static_cast<T*>(::operator new[](count * sizeof(T), alignment))), size_(count) {}

    T* data() noexcept { return data_.get(); }
    const T* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }
    T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
    const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
    operator std::span<T>() noexcept { return {data(), size_}; }
    operator std::span<const T>() const noexcept { return {data(), size_}; }

private:
    static constexpr std::align_val_t alignment{64};
    struct Free {
        void operator()(T* memory) const noexcept { ::operator delete[](memory, alignment); }
    };
    std::unique_ptr<T, Free> data_;
    std::size_t size_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file What a piece of code asks of operator new; a test that uses it links support/allocations.cpp.
#pragma once

#include <cstddef>

namespace flashback_test {

/// Bytes and calls of operator new, in all its forms, so far and in all threads.
struct Allocations {
    std::size_t calls = 0;
    std::size_t bytes = 0;
};
Allocations allocations() noexcept;

/// What `work()` asks for, whether it returns or throws.
template <class Work>
Allocations allocations_of(Work&& work) {
    const Allocations before = allocations();
    try {
        work();
    } catch (...) {
    }
    const Allocations after = allocations();
    return {after.calls - before.calls, after.bytes - before.bytes};
}

}  // namespace flashback_test

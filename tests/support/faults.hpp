/// \file Faults on purpose: the n-th allocation, or the n-th system call on a file, fails. A test that uses it links support/faults.cpp.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

#include <doctest/doctest.h>

namespace flashback_test {

enum class Fault : std::uint8_t {
    allocation,   ///< operator new, in all its forms, finds no memory
    file,         ///< open, fstat, mmap, read, write, fsync, close or rename fails
    end_of_file,  ///< a read finds the end of the file
    less,         ///< a read or a write does a part of what it should, as it may
    interrupted,  ///< a read or a write is interrupted by a signal, as it may be
    killed,       ///< the program is killed at a call of `file`, before it does anything
};

/// From now on, in all threads, the n-th of what a fault befalls is befallen; n from 1.
void arm(Fault fault, std::size_t n) noexcept;
/// Ends that.
/// Shape     whether it happened
bool disarm() noexcept;

/// What a program holds: pieces of memory from operator new, files that are open.
struct Holdings {
    std::size_t allocations = 0;
    std::size_t files = 0;
    bool operator==(const Holdings&) const = default;
};
Holdings holdings() noexcept;

/// Does `work(state)` with the first, the second, ... of a fault, each time with a new `state = make()`, until it is done without any.
/// Each time it must succeed, or throw std::bad_alloc or Error and then leave what `unchanged(state)` checks; and nothing may be left.
template <class Make, class Work, class Unchanged>
void with_each_fault(Fault fault, const Make& make, const Work& work, const Unchanged& unchanged) {
    {
        auto state = make();  // what is made once and kept
        work(state);
    }
    std::size_t faults = 0;
    for (std::size_t n = 1;; ++n) {
        CAPTURE(n);
        const Holdings before = holdings();
        bool happened = false;
        bool threw = true;
        {
            auto state = make();
            arm(fault, n);
            try {
                work(state);
                threw = false;
            } catch (const std::bad_alloc&) {
            } catch (const flashback::Error& error) {
                happened = disarm();
                // A file that fails is a fault of the world, and not of who called.
                const std::string_view sentence = error.what();
                CHECK_MESSAGE(error.code() != flashback::ErrorCode::contract, sentence);
            }
            happened = disarm() || happened;
            if (threw) unchanged(state);
        }
        const Holdings after = holdings();
        CHECK(after.allocations == before.allocations);
        CHECK(after.files == before.files);
        if (!happened) {
            CHECK_FALSE(threw);
            break;
        }
        faults += threw;
        if (fault == Fault::less || fault == Fault::interrupted) CHECK_FALSE(threw);
    }
    if (fault == Fault::allocation || fault == Fault::file) CHECK(faults > 0);
}

/// The same for what needs no state and changes none.
template <class Work>
void with_each_fault(Fault fault, const Work& work) {
    with_each_fault(
        fault, [] { return 0; }, [&](int) { work(); }, [](int) {});
}

}  // namespace flashback_test

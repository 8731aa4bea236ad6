#include "flashback/tensor/aligned_buffer.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE_TEMPLATE("a buffer of any length starts on a 64-byte border", T, char, float, double) {
    for (std::size_t count = 0; count < 40; ++count) {
        const AlignedBuffer<T> buffer{count};
        CHECK(buffer.size() == count);
        CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
    }
}

TEST_CASE("a buffer holds what is written and is a span") {
    AlignedBuffer<int> buffer{100};
    for (std::size_t i = 0; i < buffer.size(); ++i) buffer[i] = static_cast<int>(i);
    const std::span<int> all = buffer;
    CHECK(all.size() == 100);
    all[3] = 33;
    const AlignedBuffer<int> moved = std::move(buffer);
    const std::span<const int> view = moved;
    CHECK(view[3] == 33);
    CHECK(moved[99] == 99);
    CHECK(view.data() == moved.data());
}

TEST_CASE("a buffer that was moved from is empty") {
    AlignedBuffer<int> buffer{100};
    AlignedBuffer<int> other = std::move(buffer);
    CHECK(buffer.size() == 0);  // NOLINT(bugprone-use-after-move): the point of the test
    CHECK(buffer.data() == nullptr);
    const int* data = other.data();
    buffer = std::move(other);
    CHECK(buffer.size() == 100);
    CHECK(buffer.data() == data);
    CHECK(other.size() == 0);  // NOLINT(bugprone-use-after-move)
    CHECK(std::span<const int>{other}.empty());
    AlignedBuffer<int>& self = buffer;
    buffer = std::move(self);
    CHECK(buffer.size() == 100);
}

TEST_CASE("a length in bytes that wraps around is refused") {
    for (const std::size_t count : {SIZE_MAX, SIZE_MAX / 8 + 2, SIZE_MAX / 8, SIZE_MAX / 16 + 1}) {
        CHECK_THROWS_AS(AlignedBuffer<double>{count}, std::bad_array_new_length);
    }
    CHECK_THROWS_AS(AlignedBuffer<char>{SIZE_MAX}, std::bad_array_new_length);
}

TEST_CASE("a buffer without a length is empty") {
    const AlignedBuffer<float> buffer;
    CHECK(buffer.size() == 0);
    CHECK(buffer.data() == nullptr);
}

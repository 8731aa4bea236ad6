#include "flashback/tensor/blocks.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

#include <doctest/doctest.h>

using namespace flashback;

// Scales 0x21 to 0x28 and minima 0x31 to 0x38, packed by hand.
static constexpr std::uint8_t k4_bytes[12] = {0x80 | 0x21, 0x80 | 0x22, 0x80 | 0x23, 0x80 | 0x24, 0xc0 | 0x31, 0xc0 | 0x32,
                                              0xc0 | 0x33, 0xc0 | 0x34, 0x55,        0x66,        0x77,        0x88};

TEST_CASE("k4_scale: the 6-bit scales and minima of Q4_K and Q5_K") {
    for (std::size_t i = 0; i < 8; ++i) {
        CAPTURE(i);
        CHECK(k4_scale(k4_bytes, i).scale == 0x21 + i);
        CHECK(k4_scale(k4_bytes, i).min == 0x31 + i);
    }
    static_assert(k4_scale(k4_bytes, 7).scale == 0x28 && k4_scale(k4_bytes, 7).min == 0x38);
}

TEST_CASE("k4_scale: no bit of a neighbour leaks into a scale or a minimum") {
    int wrong = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        std::uint8_t bytes[12];
        int scale_bits = 0;
        int min_bits = 0;
        for (std::size_t bit = 0; bit < 96; ++bit) {
            for (std::size_t b = 0; b < 12; ++b)
                bytes[b] = b == bit / 8 ? static_cast<std::uint8_t>(1u << bit % 8) : std::uint8_t{0};
            const K4Scale k = k4_scale(bytes, i);
            scale_bits += k.scale;
            min_bits += k.min;
        }
        wrong += scale_bits != 63 || min_bits != 63;  // each of their six bits comes from exactly one of the 96
    }
    CHECK(wrong == 0);
}

TEST_CASE("k3_scale: the 6-bit scales of Q3_K") {
    // Scale i is 3 i + 1: low nibbles of 0 to 7 in the low nibbles of bytes 0 to 7, of 8 to 15 in the high ones; the upper two
    // bits of 4 j + k are bits 2 j and 2 j + 1 of byte 8 + k.
    std::array<int, 16> scales{};
    std::uint8_t bytes[12] = {};
    for (std::size_t i = 0; i < 16; ++i) {
        scales[i] = static_cast<int>(3 * i + 1);
        bytes[i % 8] = static_cast<std::uint8_t>(bytes[i % 8] | (scales[i] & 15) << (i < 8 ? 0 : 4));
        bytes[8 + i % 4] = static_cast<std::uint8_t>(bytes[8 + i % 4] | scales[i] >> 4 << (2 * (i / 4)));
    }
    for (std::size_t i = 0; i < 16; ++i) {
        CAPTURE(i);
        CHECK(k3_scale(bytes, i) == scales[i] - 32);
    }
}

#include "flashback/tensor/dtype.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>

#include <doctest/doctest.h>

using namespace flashback;

namespace test_tensor_dtype {

// 32-bit x86 returns a float in a register of the x87, where a signalling NaN becomes a quiet one.
#if defined(__i386__)
constexpr std::uint32_t quiet = 0x400000u;
#else
constexpr std::uint32_t quiet = 0;
#endif

}  // namespace test_tensor_dtype

TEST_CASE("half_to_float is exact for all 65536 numbers") {
    int wrong = 0;
    for (std::uint32_t h = 0; h < 65536; ++h) {
        const float found = half_to_float(static_cast<std::uint16_t>(h));
        const int exponent = static_cast<int>(h >> 10 & 31);
        const auto fraction = static_cast<double>(h & 1023);
        if (std::signbit(found) != (h >> 15 == 1)) ++wrong;
        if (exponent == 31) {
            if (h & 1023) {
                wrong += !std::isnan(found) ||
                         (std::bit_cast<std::uint32_t>(found) & 0x7fffffu) != ((h & 1023) << 13 | test_tensor_dtype::quiet);
            } else {
                wrong += !std::isinf(found);
            }
            continue;
        }
        const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        wrong += static_cast<double>(std::fabs(found)) != magnitude;
    }
    CHECK(wrong == 0);
    static_assert(half_to_float(0x3c00) == 1.0f && half_to_float(0xc000) == -2.0f && half_to_float(0x7bff) == 65504.0f);
    static_assert(half_to_float(0x0001) == 0x1p-24f && half_to_float(0x0400) == 0x1p-14f);
}

TEST_CASE("float_to_half gives every number back, and NaNs quiet") {
    int wrong = 0;
    for (std::uint32_t h = 0; h < 65536; ++h) {
        const bool nan = (h & 0x7c00u) == 0x7c00u && (h & 0x3ffu) != 0;
        wrong += float_to_half(half_to_float(static_cast<std::uint16_t>(h))) != (nan ? h | 0x200u : h);
    }
    CHECK(wrong == 0);
}

TEST_CASE("float_to_half rounds to the nearest number, ties to even") {
    int wrong = 0;
    for (std::uint32_t h = 0; h < 0x7bffu; ++h) {  // all that are finite and have a successor
        const float low = half_to_float(static_cast<std::uint16_t>(h));
        const float high = half_to_float(static_cast<std::uint16_t>(h + 1));
        const float middle = low + (high - low) / 2;  // exact: floats have 13 bits more
        for (const std::uint32_t sign : {0u, 0x8000u}) {
            const float s = sign == 0 ? 1.0f : -1.0f;
            wrong += float_to_half(s * middle) != (sign | (h % 2 == 0 ? h : h + 1));
            wrong += float_to_half(s * std::nextafter(middle, 0.0f)) != (sign | h);
            wrong += float_to_half(s * std::nextafter(middle, 1e6f)) != (sign | (h + 1));
        }
    }
    CHECK(wrong == 0);
    static_assert(float_to_half(65504.0f) == 0x7bff && float_to_half(65519.99f) == 0x7bff);
    static_assert(float_to_half(65520.0f) == 0x7c00 && float_to_half(-1e30f) == 0xfc00);  // too large: infinity
    static_assert(float_to_half(0x1p-25f) == 0 && float_to_half(-0x1.000002p-25f) == 0x8001 &&
                  float_to_half(-1e-45f) == 0x8000);
    static_assert(float_to_half(std::numeric_limits<float>::infinity()) == 0x7c00);
    // The upper bits of a payload stay; a NaN whose payload lies below them does not become infinity.
    static_assert(float_to_half(std::bit_cast<float>(0x7fd54000u)) == 0x7eaa);
    static_assert(float_to_half(std::bit_cast<float>(0xff800001u)) == 0xfe00);
}

TEST_CASE("bfloat16 is the upper half of a float") {
    int wrong = 0;
    for (std::uint32_t b = 0; b < 65536; ++b) {
        const auto bf16 = static_cast<std::uint16_t>(b);
        const bool nan = (b & 0x7f80u) == 0x7f80u && (b & 0x7fu) != 0;
        wrong += std::bit_cast<std::uint32_t>(bf16_to_float(bf16)) != (b << 16 | (nan ? test_tensor_dtype::quiet : 0));
        wrong += float_to_bf16(bf16_to_float(bf16)) != (nan ? b | 0x40u : b);
        if ((b & 0x7f80u) == 0x7f80u) continue;  // infinity and NaN have no successor
        const std::uint32_t even = b % 2 == 0 ? b : b + 1;
        wrong += float_to_bf16(std::bit_cast<float>(b << 16 | 0x7fffu)) != b;
        wrong += float_to_bf16(std::bit_cast<float>(b << 16 | 0x8000u)) != even;
        wrong += float_to_bf16(std::bit_cast<float>(b << 16 | 0x8001u)) != b + 1;
    }
    CHECK(wrong == 0);
    static_assert(bf16_to_float(0x3f80) == 1.0f && float_to_bf16(-2.0f) == 0xc000);
    static_assert(float_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
    static_assert(float_to_bf16(std::bit_cast<float>(0xff800001u)) == 0xffc0);  // does not become infinity
}

TEST_CASE("every number of a type is known or says that it is not") {
    std::set<std::uint32_t> known;
    for (std::uint32_t n = 0; n < 64; ++n) {
        const DTypeLayout layout = layout_of(static_cast<DType>(n));
        if (layout.block_elements == 0) {
            CHECK(layout.block_bytes == 0);
            CHECK(layout.name == "unknown");
        } else {
            CHECK(layout.block_bytes > 0);
            known.insert(n);
        }
    }
    CHECK(known == std::set<std::uint32_t>{0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 30});
    CHECK(layout_of(static_cast<DType>(0xffffffffu)).block_elements == 0);
}

TEST_CASE("blocks have the sizes of ggml") {
    const auto bytes_of_256 = [](DType type) { return 256 / layout_of(type).block_elements * layout_of(type).block_bytes; };
    CHECK(bytes_of_256(DType::f32) == 1024);
    CHECK(bytes_of_256(DType::f16) == 512);
    CHECK(bytes_of_256(DType::bf16) == 512);
    CHECK(bytes_of_256(DType::q8_0) == 8 * (2 + 32));
    CHECK(bytes_of_256(DType::q4_0) == 8 * (2 + 16));
    CHECK(bytes_of_256(DType::q4_1) == 8 * (4 + 16));
    CHECK(bytes_of_256(DType::q5_0) == 8 * (2 + 4 + 16));
    CHECK(bytes_of_256(DType::q4_k) == 4 + 12 + 128);
    CHECK(bytes_of_256(DType::q6_k) == 128 + 64 + 16 + 2);
}

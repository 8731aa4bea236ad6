#include "flashback/core/dtype.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <set>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("half_to_float is exact for all 65536 numbers") {
    int wrong = 0;
    for (std::uint32_t h = 0; h < 65536; ++h) {
        const float found = half_to_float(static_cast<std::uint16_t>(h));
        const int exponent = static_cast<int>(h >> 10 & 31);
        const auto fraction = static_cast<double>(h & 1023);
        if (std::signbit(found) != (h >> 15 == 1)) ++wrong;
        if (exponent == 31) {
            if (h & 1023) {
                wrong += !std::isnan(found) || (std::bit_cast<std::uint32_t>(found) & 0x7fffffu) != (h & 1023) << 13;
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

#include "flashback/tensor/quantize.hpp"

#include "flashback/tensor/dequantize.hpp"
#include "support/errors.hpp"
#include "support/golden_blocks.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array all_types{DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0};

std::vector<std::byte> quantized(DType type, const std::vector<float>& values) {
    const DTypeLayout layout = layout_of(type);
    std::vector<std::byte> bytes(values.size() / layout.block_elements * layout.block_bytes);
    quantize(type, values.data(), values.size(), bytes.data());
    return bytes;
}

std::vector<float> values_of(DType type, const std::vector<std::byte>& bytes) {
    const DTypeLayout layout = layout_of(type);
    std::vector<float> values(bytes.size() / layout.block_bytes * layout.block_elements);
    dequantize(type, bytes.data(), values.size(), values.data());
    return values;
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
    std::mt19937 random{seed};
    std::vector<float> values;
    for (std::size_t i = 0; i < count; ++i) {
        const double x = static_cast<double>(random()) / 4294967296.0 - 0.5;
        values.push_back(static_cast<float>(x * std::exp2(static_cast<double>(i / 32 % 16) - 8)));  // another scale each block
    }
    return values;
}

}  // namespace

TEST_CASE("golden blocks: values become the bytes that llama.cpp makes of them") {
    std::set<std::string> seen;
    for (const GoldenBlock& block : golden_quantized()) {
        CAPTURE(block.name);
        CAPTURE(layout_of(block.type).name);
        seen.insert(block.name);
        const std::vector<std::byte> found = quantized(block.type, block.values);
        REQUIRE(found.size() == block.bytes.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
            CAPTURE(i);
            CHECK(std::to_integer<int>(found[i]) == std::to_integer<int>(block.bytes[i]));
        }
    }
    CHECK(seen == std::set<std::string>{"normal", "ties", "edges", "zeros"});
}

TEST_CASE("f32, f16 and bf16 are the conversions of single numbers") {
    const std::vector<float> values = random_values(1000, 1);
    CHECK(values_of(DType::f32, quantized(DType::f32, values)) == values);
    const std::vector<float> f16 = values_of(DType::f16, quantized(DType::f16, values));
    const std::vector<float> bf16 = values_of(DType::bf16, quantized(DType::bf16, values));
    int wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        wrong += f16[i] != half_to_float(float_to_half(values[i]));
        wrong += bf16[i] != bf16_to_float(float_to_bf16(values[i]));
    }
    CHECK(wrong == 0);
}

TEST_CASE("a weight is off by half a step at most, but for what the scale lost as binary16") {
    const std::vector<float> values = random_values(8192, 2);
    const std::vector<float> q8 = values_of(DType::q8_0, quantized(DType::q8_0, values));
    const std::vector<float> q4 = values_of(DType::q4_0, quantized(DType::q4_0, values));
    int wrong = 0;
    for (std::size_t block = 0; block < values.size(); block += 32) {
        double most = 0;
        double extreme = 0;
        for (std::size_t i = block; i < block + 32; ++i) {
            if (std::fabs(values[i]) <= most) continue;
            most = std::fabs(values[i]);
            extreme = values[i];
        }
        // A scale of binary16 is off by 2^-11 of itself, or by 2^-25 where it is subnormal, and a weight has up to 127 (8) of it.
        const auto lost = [](double d, double most_steps) { return most_steps * std::max(std::fabs(d) * 0x1p-11, 0x1p-25); };
        const double d8 = most / 127;
        const double d4 = extreme / -8;
        for (std::size_t i = block; i < block + 32; ++i) {
            wrong += std::fabs(double{q8[i]} - double{values[i]}) > (d8 / 2 + lost(d8, 127)) * (1 + 1e-5);
            // Level 15 is 7 d: a value just below -extreme is cut to it and may be off by a whole step.
            const bool cut = double{values[i]} / d4 > 7.5;
            wrong +=
                std::fabs(double{q4[i]} - double{values[i]}) > (std::fabs(d4) * (cut ? 1 : 0.5) + lost(d4, 8)) * (1 + 1e-5);
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("what was read from blocks of our own gives the same blocks again") {
    const std::vector<float> values = random_values(16384, 3);
    for (const DType type : all_types) {
        CAPTURE(layout_of(type).name);
        const std::vector<std::byte> once = quantized(type, values);
        CHECK(quantized(type, values_of(type, once)) == once);
    }
}

TEST_CASE("values that cannot be held show as infinity or NaN, and nothing else goes wrong") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    for (const DType type : all_types) {
        CAPTURE(layout_of(type).name);
        for (const float bad : {infinity, -infinity, nan, -nan}) {
            for (const std::size_t at : {0u, 13u, 31u}) {
                std::vector<float> values(32, 1.0f);
                values[at] = bad;
                CHECK_FALSE(std::isfinite(values_of(type, quantized(type, values))[at]));
            }
        }
    }
    // Finite, but too large for the type or its scale.
    CHECK_FALSE(std::isfinite(values_of(DType::q8_0, quantized(DType::q8_0, std::vector<float>(32, 1e7f)))[0]));
    CHECK_FALSE(std::isfinite(values_of(DType::q4_0, quantized(DType::q4_0, std::vector<float>(32, -1e6f)))[0]));
    CHECK_FALSE(std::isfinite(values_of(DType::f16, quantized(DType::f16, std::vector<float>(32, 65520.0f)))[0]));
    // So small that the scale is 0 and its inverse infinite.
    for (const DType type : {DType::q8_0, DType::q4_0}) {
        std::vector<float> values(32, std::numeric_limits<float>::denorm_min());
        values[1] = -values[0];
        values[2] = 0;
        CHECK(values_of(type, quantized(type, values)) == std::vector<float>(32));
    }
}

TEST_CASE("types that are not written, and counts that cut a block, are refused") {
    std::vector<std::byte> bytes(1000);
    std::vector<float> floats(1000);
    for (std::uint32_t n = 0; n < 64; ++n) {
        const auto type = static_cast<DType>(n);
        const bool known = std::ranges::find(all_types, type) != all_types.end();
        CHECK(can_quantize(type) == known);
        if (!known) check_error(ErrorCode::contract, "expected F32", [&] { quantize(type, floats.data(), 0, bytes.data()); });
    }
    check_error(ErrorCode::contract, "quantize: found 31 elements for Q8_0, expected a multiple of 32",
                [&] { quantize(DType::q8_0, floats.data(), 31, bytes.data()); });
    quantize(DType::f32, nullptr, 0, nullptr);  // nothing is fine
}

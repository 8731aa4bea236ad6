// Products of every type of weights against plain loops over the bytes of the file, bit for bit.
#include "flashback/simd/matmul.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/random.hpp"
#include "flashback/tensor/blocks.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"
#include "flashback/testing/plain/matmul.hpp"
#include "support/errors.hpp"
#include "support/random_blocks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_matmul {

using namespace flashback;
using simd::PackedMatrix;
using namespace std::string_literals;

namespace {

constexpr DType types[] = {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k};
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

float random_value(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }

/// A matrix as a file has it, packed.
struct Weights {
    PackedMatrix packed;
    std::size_t row_bytes;
    std::vector<std::byte> bytes;
    const std::byte* row(std::size_t o) const { return bytes.data() + o * row_bytes; }
};

Weights random_weights(DType type, std::size_t outputs, std::size_t inputs) {
    SplitMix64 random{outputs * 1000003 + inputs};
    const DTypeLayout layout = layout_of(type);
    Weights w{PackedMatrix{type, outputs, inputs}, inputs / layout.block_elements * layout.block_bytes, {}};
    w.bytes.resize(outputs * w.row_bytes);
    std::vector<float> values(inputs);
    for (std::size_t o = 0; o < outputs; ++o) {
        std::byte* row = w.bytes.data() + o * w.row_bytes;
        if (can_quantize(type)) {
            for (float& value : values) value = random_value(random);
            quantize(type, values.data(), inputs, row);
        } else {
            flashback_test::random_blocks(
                type, random, inputs / layout.block_elements, [&](std::size_t) { return random_value(random) / 64; }, row);
        }
        w.packed.set_row(o, row);
    }
    return w;
}

/// Rows between which stand NaNs, and what they become for a type.
struct Rows {
    Rows(std::size_t count, std::size_t inputs, std::size_t gap, std::size_t shift, DType type)
        : rows(count),
          stride(inputs + gap),
          begin(shift),
          memory(count * stride + shift, not_a_number),
          converted(count, inputs) {
        SplitMix64 random{count + inputs};
        for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t i = 0; i < inputs; ++i) row(r)[i] = random_value(random);
        }
        convert(type, inputs);
    }
    void convert(DType type, std::size_t inputs) {
        for (std::size_t r = 0; r < rows; ++r) converted.convert(simd::operand_of(type), r, row(r), 0, inputs);
    }
    float* row(std::size_t r) { return memory.data() + begin + r * stride; }
    simd::Activations view() { return converted.view(row(0), stride); }

    std::size_t rows, stride, begin;
    std::vector<float> memory;
    simd::ActivationBuffer converted;
};

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
bool same(float a, float b) { return bits(a) == bits(b) || (std::isnan(a) && std::isnan(b)); }

std::size_t least_inputs(DType type) { return layout_of(type).block_elements; }

}  // namespace

TEST_CASE("a panel that is stored at once has the bits of its rows stored one by one") {
    for (const DType type : types) {
        CAPTURE(layout_of(type).name);
        const std::size_t unit = least_inputs(type);
        for (const std::size_t inputs : {unit, 3 * unit, (std::size_t{256} + unit - 1) / unit * unit, 512 + unit}) {
            for (const std::size_t outputs : {1u, 16u, 37u}) {
                const Weights w = random_weights(type, outputs, inputs);
                PackedMatrix packed{type, outputs, inputs};
                // What no weight needs is written, too (but lanes without an output are zero from the start).
                std::fill_n(const_cast<std::byte*>(packed.panel(0)), outputs / 16 * packed.panel_bytes(), std::byte{0xa5});
                for (std::size_t p = 0; p < packed.panels(); ++p) {
                    std::vector<const std::byte*> rows;
                    for (std::size_t o = 16 * p; o < std::min(outputs, 16 * p + 16); ++o) rows.push_back(w.row(o));
                    packed.set_panel(p, rows);
                    CHECK(std::ranges::equal(packed.panel_weights(p), w.packed.panel_weights(p)));
                }
            }
        }
    }
}

TEST_CASE("packing_version is the number of these bytes: who changes them changes it, and these hashes with it") {
    CHECK(simd::packing_version == (simd::bf16_group == 2 ? 2u : 1002u));  // for tiles, zeros follow
    const std::pair<DType, std::uint64_t> expected[]{{DType::f32, 0xa6783e78c37f0d07u},  {DType::f16, 0x2b93018aced2014eu},
                                                     {DType::bf16, 0xab790585535db1cu},  {DType::q8_0, 0x6d2439d79977f77bu},
                                                     {DType::q4_0, 0xbe58426b176d743cu}, {DType::q4_k, 0x89f1a1e80bc1436u},
                                                     {DType::q6_k, 0x7e697fec6c60df00u}};
    for (const auto& [type, hash] : expected) {
        const DTypeLayout layout = layout_of(type);
        CAPTURE(layout.name);
        PackedMatrix w{type, 21, 512};
        std::vector<std::byte> row(512 / layout.block_elements * layout.block_bytes);
        for (std::size_t o = 0; o < w.outputs(); ++o) {
            for (std::size_t i = 0; i < row.size(); ++i) row[i] = std::byte(i * 7 + i / 256 * 3 + o * 13);
            w.set_row(o, row.data());
        }
        Fingerprint of_panels;
        for (std::size_t p = 0; p < w.panels(); ++p) of_panels.add(w.panel_weights(p));
        CHECK(of_panels.value() == hash);
    }
}

TEST_CASE("a view of panels is the matrix that they are of, as long as anybody has the owner") {
    for (const DType type : types) {
        const Weights w = random_weights(type, 37, 512);
        auto panels = std::make_shared<std::vector<std::byte>>(w.packed.panel(0), w.packed.panel(0) + w.packed.bytes());
        CHECK(panels->size() == PackedMatrix::bytes_of(type, 37, 512));
        PackedMatrix view = PackedMatrix::view(type, 37, 512, *panels, panels);
        panels.reset();
        CHECK(view.is_view());
        CHECK_FALSE(w.packed.is_view());
        CHECK(view.bytes() == w.packed.bytes());
        PackedMatrix moved = std::move(view);
        PackedMatrix copy = moved.copy();
        CHECK_FALSE(copy.is_view());
        for (std::size_t p = 0; p < moved.panels(); ++p) {
            CHECK(std::ranges::equal(moved.panel_weights(p), w.packed.panel_weights(p)));
            CHECK(std::ranges::equal(copy.panel_weights(p), w.packed.panel_weights(p)));
        }
        flashback_test::check_error(ErrorCode::contract, "the panels of a matrix have 64 bytes, expected",
                                    [&] { PackedMatrix::view(type, 37, 512, std::vector<std::byte>(64), nullptr); });
    }
}

TEST_CASE("Every output is that of the plain loop, whatever tile it falls into") {
    for (const DType type : types) {
        const std::size_t unit = least_inputs(type);
        const std::vector<std::size_t> lengths = unit == 1 ? std::vector<std::size_t>{1, 2, 31, 64, 65, 257, 300}
                                                           : std::vector<std::size_t>{unit, 3 * unit, 544 / unit * unit + unit};
        for (const std::size_t inputs : lengths) {
            for (const std::size_t outputs : {1u, 15u, 16u, 17u, 48u, 65u, 130u}) {
                const Weights w = random_weights(type, outputs, inputs);
                for (const std::size_t rows : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 13u, 16u, 17u, 31u, 33u}) {
                    Rows x{rows, inputs, rows % 3, rows % 16, type};
                    const std::size_t stride = simd::padded(outputs) + rows % 5;
                    std::vector<float> y(rows * stride + 1, 7.0f);
                    simd::matmul(w.packed, {0, w.packed.panels()}, x.view(), rows, {y.data(), stride});
                    std::size_t wrong = 0;
                    for (std::size_t r = 0; r < rows; ++r) {
                        for (std::size_t o = 0; o < stride; ++o) {
                            const float expected = o < outputs ? testing::plain::dot(type, w.row(o), x.row(r), inputs)
                                                   : o < simd::padded(outputs) ? 0.0f
                                                                               : 7.0f;
                            if (y[r * stride + o] != expected) ++wrong;
                        }
                    }
                    INFO(std::string{layout_of(type).name} << ", " << outputs << " x " << inputs << ", " << rows << " rows");
                    CHECK(wrong == 0);
                    CHECK(y.back() == 7.0f);
                }
            }
        }
    }
}

TEST_CASE("A product is that of doubles, up to the rounding that its type asks for") {
    for (const DType type : types) {
        constexpr std::size_t inputs = 1024;
        const Weights w = random_weights(type, 40, inputs);
        Rows x{3, inputs, 0, 0, type};
        std::vector<float> y(3 * 48);
        simd::matmul(w.packed, {0, 3}, x.view(), 3, {y.data(), 48});
        std::vector<float> values(inputs);
        for (std::size_t o = 0; o < 40; ++o) {
            dequantize(type, w.row(o), inputs, values.data());
            for (std::size_t r = 0; r < 3; ++r) {
                double exact = 0;
                double tolerance = 0;
                for (std::size_t k = 0; k < inputs; ++k) {
                    const double weight = std::abs(static_cast<double>(values[k]));
                    const double activation = x.row(r)[k];
                    exact += static_cast<double>(values[k]) * activation;
                    // Each multiply-add rounds once; bfloat16 loses 2^-9 of an activation, 8 bits half a step of at most 1 / 127.
                    tolerance += static_cast<double>(inputs) * 0x1p-23 * weight * std::abs(activation);
                    if (simd::operand_of(type) == simd::Operand::bf16) tolerance += weight * std::abs(activation) * 0x1p-9;
                    if (simd::operand_of(type) == simd::Operand::int8) tolerance += weight * 0.501 / 127;
                }
                // A minimum is taken from weights before they are summed; here it is summed by itself.
                CHECK(std::abs(static_cast<double>(y[r * 48 + o]) - exact) <= tolerance * (type == DType::q4_k ? 40 : 1));
            }
        }
    }
}

TEST_CASE("Some panels of a product are those of the whole, and nothing else is written") {
    for (const DType type : types) {
        const std::size_t inputs = 2 * least_inputs(type);
        const Weights w = random_weights(type, 150, inputs);
        for (const std::size_t rows : {1u, 5u, 40u}) {
            Rows x{rows, inputs, 0, 0, type};
            const std::size_t stride = simd::padded(150);
            std::vector<float> whole(rows * stride);
            simd::matmul(w.packed, {0, w.packed.panels()}, x.view(), rows, {whole.data(), stride});
            for (std::size_t first = 0; first <= w.packed.panels(); ++first) {
                for (std::size_t last = first; last <= w.packed.panels(); ++last) {
                    std::vector<float> y(rows * stride, 1234.5f);
                    simd::matmul(w.packed, {first, last}, x.view(), rows, {y.data(), stride});
                    bool right = true;
                    for (std::size_t i = 0; i < y.size(); ++i) {
                        const std::size_t panel = i % stride / simd::panel_outputs;
                        right = right && bits(y[i]) == bits(panel >= first && panel < last ? whole[i] : 1234.5f);
                    }
                    CHECK(right);
                }
            }
        }
    }
}

TEST_CASE("A number that is none reaches every output that reads it, and no other row") {
    for (const DType type : types) {
        const std::size_t inputs = 256;
        const Weights w = random_weights(type, 33, inputs);
        for (const float special :
             {not_a_number, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
            for (const std::size_t rows : {2u, 5u, 40u}) {
                Rows x{rows, inputs, 0, 0, type};
                x.row(rows - 1)[200] = special;
                x.convert(type, inputs);
                std::vector<float> y(rows * 48);
                simd::matmul(w.packed, {0, 3}, x.view(), rows, {y.data(), 48});
                bool right = true;
                for (std::size_t r = 0; r < rows; ++r) {
                    for (std::size_t o = 0; o < 33; ++o) {
                        right = right && same(y[r * 48 + o], testing::plain::dot(type, w.row(o), x.row(r), inputs));
                        right = right && std::isfinite(y[r * 48 + o]) == (r + 1 < rows);
                    }
                }
                INFO(std::string{layout_of(type).name} << " " << special);
                CHECK(right);
            }
        }
    }
}

TEST_CASE("Activations too small for a scale count as zeros") {
    for (const float tiny : {0.0f, -0.0f, 0x1p-149f, 0x1p-126f, 0x1p-101f}) {
        Rows x{1, 32, 0, 0, DType::q8_0};
        std::fill_n(x.row(0), 32, tiny);
        x.convert(DType::q8_0, 32);
        const Weights w = random_weights(DType::q8_0, 16, 32);
        std::vector<float> y(16, 1.0f);
        simd::matmul(w.packed, {0, 1}, x.view(), 1, {y.data(), 16});
        CHECK(std::ranges::all_of(y, [](float v) { return v == 0; }));
    }
}

TEST_CASE("The greatest sums that a block can have are exact") {
    const std::uint16_t one = float_to_half(1.0f);
    for (const DType type : {DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k}) {
        const DTypeLayout layout = layout_of(type);
        const std::size_t inputs = layout.block_elements;
        for (const int byte : {0xff, 0x7f, 0x80, 0x00}) {
            std::vector<std::byte> row(layout.block_bytes, static_cast<std::byte>(byte));
            if (type == DType::q6_k) {
                std::fill_n(row.begin() + offsetof(BlockQ6_K, scales), sizeof(BlockQ6_K::scales), std::byte{127});
                std::memcpy(row.data() + offsetof(BlockQ6_K, d), &one, sizeof one);
            } else {
                std::memcpy(row.data(), &one, sizeof one);
            }
            if (type == DType::q4_k) {
                std::memcpy(row.data() + offsetof(BlockQ4_K, dmin), &one, sizeof one);
                std::fill_n(row.begin() + offsetof(BlockQ4_K, scales), sizeof(BlockQ4_K::scales), std::byte{0xff});
            }
            PackedMatrix w{type, 16, inputs};
            for (std::size_t o = 0; o < 16; ++o) w.set_row(o, row.data());
            // Equal activations, or those whose sign changes after `run` of them: some sums are greatest where others are least.
            for (const std::size_t run : {256u, 16u, 2u, 1u}) {
                Rows x{2, inputs, 0, 0, type};
                for (std::size_t i = 0; i < inputs; ++i) {
                    x.row(0)[i] = i / run % 2 == 0 ? 1.0f : -1.0f;
                    x.row(1)[i] = -x.row(0)[i];
                }
                x.convert(type, inputs);
                std::vector<float> y(2 * 16);
                simd::matmul(w, {0, 1}, x.view(), 2, {y.data(), 16});
                std::size_t wrong = 0;
                for (std::size_t i = 0; i < y.size(); ++i) {
                    if (y[i] != testing::plain::dot(type, row.data(), x.row(i / 16), inputs)) ++wrong;
                }
                INFO(std::string{layout.name} << ", bytes of " << byte << ", signs in runs of " << run);
                CHECK(wrong == 0);
            }
        }
    }
}

TEST_CASE("A packed matrix gives back the values that its rows mean") {
    for (const DType type : types) {
        CAPTURE(layout_of(type).name);
        const std::size_t inputs = 3 * least_inputs(type);
        const Weights w = random_weights(type, 18, inputs);
        CHECK(w.packed.type() == type);
        CHECK(w.packed.outputs() == 18);
        CHECK(w.packed.inputs() == inputs);
        CHECK(w.packed.panels() == 2);
        CHECK(w.packed.bytes() >= 32 * w.row_bytes);
        // Whole lines, or groups of lines if they are multiplied in one instruction; Q4_K has 148 bytes for 144.
        const std::size_t group = type == DType::bf16 ? simd::bf16_group / 2 * 64 : 64;
        CHECK(w.packed.bytes() < 32 * w.row_bytes * 104 / 100 + 2 * (group + 32));
        std::vector<float> got(inputs);
        std::vector<float> expected(inputs);
        bool right = true;
        for (std::size_t o = 0; o < 18; ++o) {
            w.packed.row(o, got.data());
            dequantize(type, w.row(o), inputs, expected.data());
            right = right && std::memcmp(got.data(), expected.data(), inputs * sizeof(float)) == 0;
        }
        CHECK(right);
    }
}

TEST_CASE("A matrix that cannot be packed is refused in a sentence") {
    CHECK_THROWS_WITH_AS((PackedMatrix{DType::q5_k, 16, 256}),
                         "a packed matrix of type Q5_K, expected F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K", Error);
    CHECK_THROWS_WITH_AS((PackedMatrix{DType::q8_0, 16, 48}), "a matrix of 48 inputs in blocks of 32 (Q8_0)", Error);
    CHECK_FALSE(PackedMatrix::takes(DType::i8));
    CHECK(PackedMatrix::takes(DType::q6_k));
}

}  // namespace test_simd_matmul

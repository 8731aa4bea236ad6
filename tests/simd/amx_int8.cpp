// Products of quantised weights in tiles: the bits of vectors. Under FLASHBACK_AMX_EMULATE the tiles are their software twin.
#include "flashback/core/random.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "flashback/simd/bursts.hpp"
#include "flashback/simd/matmul.hpp"
#include "simd/amx_trapped.hpp"
#include "support/random_packed.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_amx_int8 {

using namespace flashback;

namespace {

constexpr DType types[] = {DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k};

struct Product {
    Product(DType type, std::size_t row_count, std::size_t outputs, std::size_t inputs)
        : random{row_count * 1000003 + outputs * 1009 + inputs},
          rows(row_count),
          w(flashback_test::random_packed(type, outputs, inputs, random)),
          x(rows * inputs),
          converted(rows, inputs),
          stride(simd::row_stride(outputs)) {
        for (float& one : x) one = static_cast<float>(2 * random.uniform() - 1);
        for (std::size_t r = 0; r < rows; ++r) converted.convert(simd::Operand::int8, r, x.data() + r * inputs, 0, inputs);
    }

    simd::detail::MatmulPanels panels(std::size_t first, std::size_t last) const {
        return {w.panel(0), w.panel_bytes(), w.inputs(), first, last};
    }
    simd::Activations view() const { return converted.view(x.data(), w.inputs()); }
    template <class Format>
    std::vector<float> in_tiles(std::size_t first, std::size_t last) const {
        std::vector<float> y(rows * stride, 7.0f);
        const simd::detail::MatmulPanels some = panels(first, last);
        const simd::Activations a = view();
        simd::detail::BytesMatmul<Format, simd::detail::AmxTwin>{some, a, rows, y.data(), stride}.run();
        return y;
    }
    template <class Format>
    std::vector<float> in_vectors(std::size_t first, std::size_t last) const {
        std::vector<float> y(rows * stride, 7.0f);
        simd::detail::matmul_in_vectors<Format>(panels(first, last), view(), rows, y.data(), stride);
        return y;
    }
    /// Whether all numbers are equal, also those between the outputs, that is: what is not written.
    bool right(std::size_t first, std::size_t last) const {
        bool equal = false;
        simd::detail::with_format(w.type(), [&](auto format) {
            if constexpr (format.operand == simd::Operand::int8) {
                const std::vector<float> y = in_tiles<decltype(format)>(first, last);
                const std::vector<float> expected = in_vectors<decltype(format)>(first, last);
                equal = std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) == 0;
            }
        });
        return equal;
    }

    SplitMix64 random;
    std::size_t rows;
    simd::PackedMatrix w;
    std::vector<float> x;
    simd::ActivationBuffer converted;
    std::size_t stride;
};

}  // namespace

TEST_CASE("Tiles of bytes: every output is that of vectors, for 1 to 40 rows and beyond the blocks that are unpacked at once") {
    for (const DType type : types) {
        const std::size_t unit = layout_of(type).block_elements;
        CAPTURE(layout_of(type).name);
        for (const std::size_t inputs : {unit, 3 * unit, 512 + unit}) {
            for (std::size_t rows = 1; rows <= 40; ++rows) {
                const std::size_t outputs = rows % 3 == 0 ? 49 : rows % 3 * 16;
                CAPTURE(inputs);
                CAPTURE(rows);
                const Product product{type, rows, outputs, inputs};
                CHECK(product.right(0, product.w.panels()));
            }
        }
        for (const std::size_t rows : {48u, 65u, 97u}) {
            CAPTURE(rows);
            const Product product{type, rows, 70, 1280};
            CHECK(product.right(0, 5));
            CHECK(product.right(1, 2));
            CHECK(product.right(2, 4));
            CHECK(product.right(3, 3));
        }
    }
}

TEST_CASE("Tiles of bytes: the greatest sums are exact") {
    // Q8_0 of -128 with activations of either sign and the same magnitude.
    std::vector<std::byte> row(3 * layout_of(DType::q8_0).block_bytes, std::byte{0x80});
    const std::uint16_t one = float_to_half(1.0f);
    for (std::size_t b = 0; b < 3; ++b) std::memcpy(row.data() + b * layout_of(DType::q8_0).block_bytes, &one, sizeof one);
    Product product{DType::q8_0, 17, 16, 96};
    for (std::size_t o = 0; o < 16; ++o) product.w.set_row(o, row.data());
    for (std::size_t r = 0; r < 17; ++r) {
        std::vector<float> x(96, r % 2 == 0 ? 127.0f : -127.0f);
        product.converted.convert(simd::Operand::int8, r, x.data(), 0, 96);
    }
    CHECK(product.right(0, 1));
    const std::vector<float> y = product.in_tiles<simd::detail::Q8_0Format>(0, 1);
    for (std::size_t r = 0; r < 17; ++r) CHECK(y[r * product.stride] == (r % 2 == 0 ? -1.0f : 1.0f) * 96 * 127 * 128);
}

TEST_CASE("Tiles of bytes: enough rows take them, fewer leave all to vectors") {
    for (const std::size_t rows : {0u, 1u, 15u, 16u, 17u, 64u}) {
        const Product product{DType::q4_0, rows, 20, 64};
        std::vector<float> y(rows * product.stride, 7.0f);
        const bool taken = simd::detail::matmul_bytes<simd::detail::Q4_0Format>(product.panels(0, 2), product.view(), rows,
                                                                                y.data(), product.stride);
        CHECK(taken == (rows >= 16));
        const std::vector<float> expected = product.in_vectors<simd::detail::Q4_0Format>(0, 2);
        if (taken) {
            CHECK(std::ranges::equal(y, expected));
        } else {
            CHECK(std::ranges::count(y, 7.0f) == static_cast<std::ptrdiff_t>(y.size()));
        }
    }
}

TEST_CASE("Tiles of bytes: the instructions do what the twin and AVX-512 VNNI do, and give the registers back") {
    if (!flashback_test::instructions_can_trap()) return;
    for (const DType type : types) {
        CAPTURE(layout_of(type).name);
        const std::size_t unit = layout_of(type).block_elements;
        for (const std::size_t rows : {1u, 7u, 16u, 17u, 33u, 50u}) {
            for (const std::size_t outputs : {16u, 20u, 50u}) {
                for (const std::size_t inputs : {unit, 768 / unit * unit + unit}) {
                    CAPTURE(rows);
                    CAPTURE(outputs);
                    CAPTURE(inputs);
                    CHECK(flashback_test::tiles_differ_from_twin(static_cast<std::uint32_t>(type), rows, outputs, inputs) ==
                          "");
                }
            }
        }
    }
}

TEST_CASE("Tiles: rows of activations are an odd number of cache lines apart") {
    for (const std::size_t inputs : {32u, 64u, 512u, 2048u, 4096u, 5632u}) {
        const simd::ActivationBuffer buffer{2, inputs};
        const simd::Activations a = buffer.view(nullptr, 0);
        CHECK(a.pair_stride * sizeof(simd::ActivationPair) % 128 == 64);
        CHECK(a.quad_stride * sizeof(simd::ActivationQuad) % 128 == 64);
        CHECK(a.block_stride * sizeof(simd::ActivationBlock) % 128 == 64);
        CHECK(a.quad_stride >= inputs / 4);
        CHECK(a.block_stride >= inputs / 32);
    }
}

TEST_CASE("Tiles: the bursts for their peaks are products of full tiles, and give the registers back") {
    if (!flashback_test::instructions_can_trap()) return;
    CHECK(flashback_test::tile_burst_is_wrong(false) == "");
    CHECK(flashback_test::tile_burst_is_wrong(true) == "");
}

TEST_CASE("Tiles: their software twin is no peak") {
    REQUIRE(simd::tiles().use == simd::TileUse::emulated);
    CHECK(simd::bf16_tile_burst_operations() == 0);
    CHECK(simd::int8_tile_burst_operations() == 0);
    CHECK(simd::bf16_burst_operations == 0);
    simd::bf16_tile_burst();
    simd::int8_tile_burst();
    CHECK_FALSE(bf16_peak(ExecutorRef{}, 0).has_value());
    CHECK(int8_peak(ExecutorRef{}, 0).has_value());  // of the processor's own instruction
}

}  // namespace test_simd_amx_int8

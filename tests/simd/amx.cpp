// Products of bf16 in tiles, against plain loops, bit for bit. Under FLASHBACK_AMX_EMULATE the tiles are their software twin.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/simd/tiles.hpp"
#include "flashback/testing/plain/matmul.hpp"
#include "simd/amx_trapped.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_amx {

using namespace flashback;

namespace {

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
bool same(float a, float b) { return bits(a) == bits(b) || (std::isnan(a) && std::isnan(b)); }

/// A product whose numbers come from `value(random)`: weights as they are, in bf16, activations before they are rounded.
struct Product {
    template <class Value>
    Product(std::size_t row_count, std::size_t output_count, std::size_t input_count, const Value& value)
        : rows(row_count),
          outputs(output_count),
          inputs(input_count),
          weights(simd::padded(outputs) * inputs),
          x(rows * inputs),
          packed(DType::bf16, outputs, inputs),
          converted(rows, inputs),
          stride(simd::row_stride(outputs)) {
        SplitMix64 random{rows * 1000003 + outputs * 1009 + inputs};
        std::vector<std::uint16_t> row(inputs);
        for (std::size_t o = 0; o < outputs; ++o) {
            for (std::size_t k = 0; k < inputs; ++k) {
                row[k] = float_to_bf16(value(random));
                weights[o * inputs + k] = bf16_to_float(row[k]);
            }
            packed.set_row(o, reinterpret_cast<const std::byte*>(row.data()));
        }
        for (float& one : x) one = value(random);
        for (std::size_t r = 0; r < rows; ++r) converted.convert(simd::Operand::bf16, r, x.data() + r * inputs, 0, inputs);
    }

    simd::Activations view() const { return converted.view(x.data(), inputs); }
    /// The rows from `first` on, all panels in one call.
    std::vector<float> result(std::size_t first, std::size_t count) const {
        std::vector<float> y(rows * stride, 7.0f);
        simd::matmul(packed, {0, packed.panels()}, view().row(first), count, {y.data(), stride});
        return y;
    }
    float expected(std::size_t r, std::size_t o) const {
        return testing::plain::dot_bf16(weights.data() + o * inputs, x.data() + r * inputs, inputs);
    }
    /// How many outputs are not those of the plain loop, and whether something else was written.
    std::size_t wrong() const {
        const std::vector<float> y = result(0, rows);
        std::size_t count = 0;
        for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t o = 0; o < stride; ++o) {
                const float right = o < simd::padded(outputs) ? expected(r, o) : 7.0f;
                if (!same(y[r * stride + o], right)) ++count;
            }
        }
        return count;
    }

    std::size_t rows, outputs, inputs;
    std::vector<float> weights, x;
    simd::PackedMatrix packed;
    simd::ActivationBuffer converted;
    std::size_t stride;
};

float usual(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }

/// Either sign, any bits behind the exponent, which is from `least` to `most`.
float between(SplitMix64& random, int least, int most) {
    const int exponent = least + static_cast<int>(random.below(static_cast<std::size_t>(most - least + 1)));
    const float value = std::ldexp(static_cast<float>(1 + random.uniform()), exponent);
    return random.below(2) == 0 ? value : -value;
}

}  // namespace

TEST_CASE("Tiles: every output is that of the plain loop, for 1 to 40 rows and beyond a block of inputs") {
    REQUIRE(simd::tiles().use != simd::TileUse::none);
    for (const std::size_t inputs : {1u, 31u, 32u, 33u, 62u, 64u, 500u, 512u, 513u, 1100u}) {
        for (std::size_t rows = 1; rows <= 40; rows += inputs > 64 ? 3 : 1) {
            CAPTURE(inputs);
            CAPTURE(rows);
            CHECK(Product(rows, rows % 3 == 0 ? 33 : 16, inputs, usual).wrong() == 0);
        }
    }
    for (const std::size_t rows : {48u, 63u, 64u, 65u, 97u}) {
        for (const std::size_t outputs : {1u, 130u, 300u}) {  // more panels than are taken at once
            CAPTURE(rows);
            CAPTURE(outputs);
            CHECK(Product(rows, outputs, 1040, usual).wrong() == 0);
        }
    }
}

TEST_CASE("Tiles: subnormal numbers are zeros, going in and coming out") {
    const auto tiny = [](SplitMix64& random) { return between(random, -150, -120); };
    const auto products_at_the_edge = [](SplitMix64& random) { return between(random, -66, -60); };
    const auto everywhere = [](SplitMix64& random) { return between(random, -149, 127); };
    const auto half_and_half = [](SplitMix64& random) {
        return random.below(2) == 0 ? between(random, -130, -110) : between(random, -14, 2);
    };
    for (const std::size_t inputs : {1u, 2u, 5u, 33u, 100u}) {
        for (const std::size_t rows : {1u, 7u, 33u}) {
            CAPTURE(inputs);
            CAPTURE(rows);
            CHECK(Product(rows, 40, inputs, tiny).wrong() == 0);
            CHECK(Product(rows, 40, inputs, products_at_the_edge).wrong() == 0);
            CHECK(Product(rows, 40, inputs, everywhere).wrong() == 0);
            CHECK(Product(rows, 40, inputs, half_and_half).wrong() == 0);
        }
    }
    // The last bit of a chain decides whether it is a normal number: 2^-126 (1 - 2^-24 - 2^-26) is zero although its nearest
    // number is 2^-126.
    for (const float last : {0x1p-24f, 0x1p-24f + 0x1p-26f, 0x1p-25f, 0x1p-26f}) {
        Product one{1, 1, 4, [](SplitMix64&) { return 0.0f; }};
        const float value[4] = {0x1p-63f, 0, -last * 0x1p-1f, 0};
        std::uint16_t row[4] = {float_to_bf16(0x1p-63f), 0, float_to_bf16(0x1p-125f), 0};
        for (std::size_t k = 0; k < 4; ++k) {
            one.x[k] = value[k];
            one.weights[k] = bf16_to_float(row[k]);
        }
        one.packed.set_row(0, reinterpret_cast<const std::byte*>(row));
        one.converted.convert(simd::Operand::bf16, 0, one.x.data(), 0, 4);
        CAPTURE(last);
        CHECK(one.wrong() == 0);
    }
}

TEST_CASE("Tiles: a number that is none, and what overflows, is that of the plain loop") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const auto huge = [](SplitMix64& random) { return between(random, 50, 70); };
    const auto special = [](SplitMix64& random) {
        const std::size_t which = random.below(60);
        if (which == 0) return infinity;
        if (which == 1) return -infinity;
        if (which == 2) return std::numeric_limits<float>::quiet_NaN();
        return which < 6 ? 0.0f : usual(random);
    };
    for (const std::size_t rows : {1u, 16u, 35u}) {
        CAPTURE(rows);
        CHECK(Product(rows, 33, 45, huge).wrong() == 0);
        CHECK(Product(rows, 33, 7, special).wrong() == 0);
        CHECK(Product(rows, 33, 45, special).wrong() == 0);
    }
}

TEST_CASE("Tiles: a row has the same bits alone and among others, wherever panels are cut between threads") {
    const Product product{37, 150, 700, usual};
    const std::vector<float> whole = product.result(0, 37);
    for (std::size_t first = 0; first < 37; first += 5) {
        for (const std::size_t count : {1u, 2u, 16u, 17u, 32u}) {
            if (first + count > 37) continue;
            const std::vector<float> y = product.result(first, count);
            const bool equal = std::memcmp(y.data(), whole.data() + first * product.stride, count * product.stride * 4) == 0;
            INFO("an output depends on the number of rows: " << count << " from " << first);
            CHECK(equal);
        }
    }
    for (const std::size_t threads : {1u, 2u, 3u, 4u}) {
        ThreadPool pool{threads};
        const std::size_t panels = product.packed.panels();
        for (std::size_t size = 1; size <= panels; ++size) {
            std::vector<float> y(37 * product.stride, 7.0f);
            pool.run((panels + size - 1) / size, [&](std::size_t part) {
                simd::matmul(product.packed, {part * size, std::min(panels, (part + 1) * size)}, product.view(), 37,
                             {y.data(), product.stride});
            });
            CHECK(std::memcmp(y.data(), whole.data(), y.size() * sizeof(float)) == 0);
        }
    }
}

TEST_CASE("Tiles: the mode of the caller's arithmetic has no part in it, and is left as it was") {
    const Product product{5, 16, 90, usual};
    const std::vector<float> expected = product.result(0, 5);
    for (const unsigned mode : {0x1f80u, 0x9fc0u, 0x7f80u}) {  // as usual; without subnormal numbers; rounding to zero
        const unsigned before = _mm_getcsr();
        _mm_setcsr(mode);
        const std::vector<float> y = product.result(0, 5);
        const unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        CHECK((after & ~0x3fu) == mode);
        CHECK(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("Tiles: the instructions do what the twin does, and give the registers back") {
    if (!flashback_test::instructions_can_trap()) return;
    for (const std::size_t rows : {1u, 7u, 16u, 17u, 32u, 33u, 50u, 64u}) {
        for (const std::size_t outputs : {16u, 20u, 170u}) {
            for (const std::size_t inputs : {5u, 32u, 600u}) {
                CAPTURE(rows);
                CAPTURE(outputs);
                CAPTURE(inputs);
                CHECK(flashback_test::tiles_differ_from_twin(static_cast<std::uint32_t>(DType::bf16), rows, outputs, inputs) ==
                      "");
            }
        }
    }
}

TEST_CASE("Tiles: a product gives the registers back") {
    const simd::Tiles tiles = simd::tiles();
    if (tiles.use != simd::TileUse::tiles) {
        MESSAGE("skipped: there are no tiles here (" << std::string{tiles.reason} << ")");
        return;
    }
    (void)Product(33, 40, 64, usual).result(0, 33);
    // XGETBV(1): which parts of the state of this thread are in use; 17 and 18 are the configuration of tiles and their numbers.
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    CHECK((low & 3u << 17) == 0);
}

}  // namespace test_simd_amx

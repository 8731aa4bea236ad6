// Attention to keys and values of bf16 with the arithmetic of tiles, against plain loops, bit for bit. Attention to ordinary numbers is
// in same_bits.cpp, which runs here with tiles as well.
#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/testing/plain/attention.hpp"
#include "simd/amx_trapped.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_amx_attention {

using namespace flashback;

namespace {

/// A cache of one head whose numbers come from `value(random)`, and queries whose numbers come from `query(random)`.
struct Attention {
    template <class Query, class Value>
    Attention(std::size_t head_dim, std::size_t positions, std::size_t count, const Query& query, const Value& value)
        : d(head_dim),
          cache({.layers = 1, .kv_heads = 1, .head_dim = d, .positions = positions, .element = DType::bf16}),
          q(count * d) {
        SplitMix64 random{d * 1000 + positions * 10 + count};
        std::vector<float> key(d), held(d);
        for (std::size_t p = 0; p < positions; ++p) {
            for (float& one : key) one = value(random);
            for (float& one : held) one = value(random);
            cache.write(0, 0, p, key.data(), held.data());
        }
        for (float& one : q) one = query(random);
    }

    auto tile() const {
        return [this](std::size_t t) { return cache.tile(0, 0, t); };
    }
    /// The queries from `first` on; the query a is at position start + a / sharing.
    std::vector<float> result(std::size_t first, std::size_t count, std::size_t start, std::size_t sharing) const {
        std::vector<float> out(count * d, 7.0f);
        std::vector<simd::AttentionQuery> queries;
        for (std::size_t a = 0; a < count; ++a)
            queries.push_back({q.data() + (first + a) * d, out.data() + a * d, start + (first + a) / sharing});
        simd::attend<simd::BFloat16>(queries, tile(), d);
        return out;
    }
    std::vector<float> expected(std::size_t count, std::size_t start, std::size_t sharing) const {
        std::vector<float> out(count * d);
        for (std::size_t a = 0; a < count; ++a)
            testing::plain::attend<simd::BFloat16>(q.data() + a * d, tile(), d, start + a / sharing, out.data() + a * d);
        return out;
    }

    std::size_t d;
    ContiguousKVCache cache;
    std::vector<float> q;
};

float usual(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }

/// Either sign, any bits behind the exponent, which is from `least` to `most`.
float between(SplitMix64& random, int least, int most) {
    const int exponent = least + static_cast<int>(random.below(static_cast<std::size_t>(most - least + 1)));
    const float value = std::ldexp(static_cast<float>(1 + random.uniform()), exponent);
    return random.below(2) == 0 ? value : -value;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (std::isnan(a[i]) && std::isnan(b[i])) continue;
        if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
    }
    return a.size() == b.size();
}

}  // namespace

TEST_CASE("Attention in tiles: any numbers, subnormal and huge ones and those that are none, are those of the plain loop") {
    const auto tiny = [](SplitMix64& random) { return between(random, -149, -118); };
    const auto everywhere = [](SplitMix64& random) { return between(random, -149, 127); };
    const auto special = [](SplitMix64& random) {
        const std::size_t which = random.below(400);
        if (which == 0) return std::numeric_limits<float>::infinity();
        if (which == 1) return -std::numeric_limits<float>::infinity();
        if (which == 2) return std::numeric_limits<float>::quiet_NaN();
        return which < 40 ? 0.0f : usual(random);
    };
    for (const std::size_t d : {1u, 2u, 31u, 33u, 64u, 256u, 260u}) {
        for (const std::size_t count : {1u, 3u, 6u, 16u}) {
            for (const std::size_t start : {0u, 29u, 62u, 65u, 140u}) {
                for (const std::size_t sharing : {1u, 4u, 16u}) {
                    CAPTURE(d);
                    CAPTURE(count);
                    CAPTURE(start);
                    CAPTURE(sharing);
                    const Attention a{d, 192, count, usual, tiny};
                    CHECK(same(a.result(0, count, start, sharing), a.expected(count, start, sharing)));
                    const Attention b{d, 192, count, everywhere, everywhere};
                    CHECK(same(b.result(0, count, start, sharing), b.expected(count, start, sharing)));
                    const Attention c{d, 192, count, usual, special};
                    CHECK(same(c.result(0, count, start, sharing), c.expected(count, start, sharing)));
                }
            }
        }
    }
}

TEST_CASE("Attention in tiles: what is missing of a step is zero, which makes 0 of -0") {
    constexpr std::size_t d = 8;
    const auto zero = [](SplitMix64&) { return 0.0f; };
    for (const std::size_t last : {10u, 29u, 30u, 31u, 32u, 33u, 62u, 63u, 64u}) {
        Attention a{d, 128, 16, [](SplitMix64&) { return 1.0f; }, zero};
        for (std::size_t p = 0; p < 64 + last; ++p) {
            std::vector<float> key(d), value(d, -0x1p-126f);
            if (p >= 64) key[0] = 39;  // so the first tile counts for e^-40, which leaves nothing of its sums but their sign
            if (p == 64) {
                key[0] = 40;
                value.assign(d, -0.0f);
            }
            a.cache.write(0, 0, p, key.data(), value.data());
        }
        for (const std::size_t count : {1u, 16u}) {
            CAPTURE(last);
            CAPTURE(count);
            const std::vector<float> expected = a.expected(count, 63 + last, 16);
            CHECK(same(a.result(0, count, 63 + last, 16), expected));
            CHECK(expected[0] == 0);
            CHECK(std::signbit(expected[0]) == (last == 32 || last == 64));
        }
    }
}

TEST_CASE("Attention in tiles: a row has the same bits alone and among others") {
    for (const std::size_t d : {20u, 64u, 128u}) {
        const Attention a{d, 256, 16, [](SplitMix64& random) { return 4 * usual(random); }, usual};
        for (const std::size_t start : {0u, 40u, 58u, 130u, 230u}) {
            for (const std::size_t sharing : {1u, 2u, 8u}) {
                const std::vector<float> whole = a.result(0, 16, start, sharing);
                for (std::size_t first = 0; first < 16; ++first) {
                    for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 9u}) {
                        if (first + count > 16) continue;
                        const auto from = whole.begin() + static_cast<std::ptrdiff_t>(first * d);
                        const std::vector<float> expected(from, from + static_cast<std::ptrdiff_t>(count * d));
                        INFO("attention depends on the number of queries: " << count << " from " << first);
                        CHECK(same(a.result(first, count, start, sharing), expected));
                    }
                }
            }
        }
    }
}

TEST_CASE("Attention in tiles: the mode of the caller's arithmetic is left as it was, and subnormal numbers are zeros in any") {
    const auto tiny = [](SplitMix64& random) { return between(random, -132, -124); };
    const Attention a{40, 128, 16, usual, tiny};
    for (const std::size_t count : {1u, 16u}) {
        const std::vector<float> expected = a.result(0, count, 90, 2);
        for (const unsigned mode : {0x1f80u, 0x9fc0u}) {
            const unsigned before = _mm_getcsr();
            _mm_setcsr(mode);
            const std::vector<float> out = a.result(0, count, 90, 2);
            const unsigned after = _mm_getcsr();
            _mm_setcsr(before);
            CHECK((after & ~0x3fu) == mode);
            std::size_t different = 0;  // only where the division at the end gives a subnormal number
            for (std::size_t i = 0; i < out.size(); ++i)
                different += out[i] != expected[i] && std::fabs(expected[i]) >= std::numeric_limits<float>::min();
            CHECK(different == 0);
        }
    }
}

// The rounding of queries and of weights to 8 bits, and nothing else, is between these sums and those of doubles.
TEST_CASE("Attention in tiles is the softmax of doubles, to within the rounding of queries and weights to bf16") {
    for (const std::size_t d : {16u, 64u, 100u}) {
        for (const std::size_t positions : {1u, 40u, 64u, 200u, 320u}) {
            const float scale = 3 / std::sqrt(static_cast<float>(d));
            const Attention a{d, 320, 8, [&](SplitMix64& random) { return scale * usual(random); }, usual};
            const std::vector<float> out = a.result(0, 8, positions - 1, 8);
            std::vector<float> key(d), value(d);
            for (std::size_t query = 0; query < 8; ++query) {
                std::vector<double> weight(positions), sum(d), magnitude(d);
                double most = -1e300, error = 0, total = 0;
                const auto read = [&](std::size_t p) {
                    detail::read_from_tile(a.cache.tile(0, 0, p / 64), a.cache.shape(), p % 64, key.data(), value.data());
                };
                for (std::size_t p = 0; p < positions; ++p) {
                    read(p);
                    double off = 0;
                    for (std::size_t i = 0; i < d; ++i) {
                        const double term = static_cast<double>(a.q[query * d + i]) * static_cast<double>(key[i]);
                        weight[p] += term;
                        off += std::abs(term);
                    }
                    error = std::max(error, off * (0x1p-9 + static_cast<double>(d) * 0x1p-24));  // of a score
                    most = std::max(most, weight[p]);
                }
                for (double& one : weight) total += one = std::exp(one - most);
                for (std::size_t p = 0; p < positions; ++p) {
                    read(p);
                    for (std::size_t i = 0; i < d; ++i) {
                        sum[i] += weight[p] / total * static_cast<double>(value[i]);
                        magnitude[i] += weight[p] / total * std::abs(static_cast<double>(value[i]));
                    }
                }
                // A weight is off by the error of its score and of the greatest, and by its rounding; the sum of weights by as much.
                const double relative =
                    2 * (std::expm1(2 * error) + 0x1p-9) + static_cast<double>(2 * positions + 100) * 0x1p-24;
                std::size_t wrong = 0;
                for (std::size_t i = 0; i < d; ++i)
                    wrong += !(std::abs(static_cast<double>(out[query * d + i]) - sum[i]) <= relative * magnitude[i]);
                CAPTURE(d);
                CAPTURE(positions);
                CHECK(wrong == 0);
            }
        }
    }
}

TEST_CASE("Attention in tiles: the instructions do what the twin does, and give the registers back") {
    if (!flashback_test::instructions_can_trap()) return;
    for (const std::size_t queries : {3u, 7u, 16u}) {
        for (const std::size_t d : {5u, 32u, 72u, 128u, 256u}) {
            for (const std::size_t start : {0u, 60u, 150u}) {
                CAPTURE(queries);
                CAPTURE(d);
                CAPTURE(start);
                CHECK(flashback_test::attention_differs_from_twin(queries, d, start) == "");
            }
        }
    }
}

}  // namespace test_simd_amx_attention

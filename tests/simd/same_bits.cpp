// Every kernel against its plain loop: bit for bit, at every length from 0 to beyond two registers, at every address of a float.
#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/simd/activation.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/norm.hpp"
#include "flashback/simd/softmax.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/testing/plain/attention.hpp"
#include "flashback/testing/plain/exp.hpp"
#include "flashback/testing/plain/rows.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

float random_value(SplitMix64& random, double most) { return static_cast<float>((2 * random.uniform() - 1) * most); }

/// A row at an address that is `shift` floats off a cache line, between NaNs that nobody may read and everybody must keep.
class Row {
public:
    Row(std::size_t n, std::size_t shift, double most, std::uint64_t seed) : memory_(n + shift + 2), n_(n), shift_(shift) {
        std::fill_n(memory_.data(), memory_.size(), not_a_number);
        SplitMix64 random{seed};
        for (std::size_t i = 0; i < n; ++i) data()[i] = random_value(random, most);
    }
    Row(const Row& other) : memory_(other.memory_.size()), n_(other.n_), shift_(other.shift_) {
        std::copy_n(other.memory_.data(), memory_.size(), memory_.data());
    }

    float* data() { return memory_.data() + shift_ + 1; }
    const float* data() const { return memory_.data() + shift_ + 1; }
    std::size_t size() const { return n_; }

    /// Same bits inside and outside of the row; where both are NaN, the sign and the payload are free.
    bool operator==(const Row& other) const {
        for (std::size_t i = 0; i < memory_.size(); ++i) {
            if (std::isnan(memory_[i]) && std::isnan(other.memory_[i])) continue;
            if (std::bit_cast<std::uint32_t>(memory_[i]) != std::bit_cast<std::uint32_t>(other.memory_[i])) return false;
        }
        return true;
    }

private:
    AlignedBuffer<float> memory_;
    std::size_t n_, shift_;
};

const std::vector<std::size_t> shifts{0, 1, 2, 3, 7, 14};

/// Both change a copy of the same row; the kernel and its oracle must leave the same bits.
template <class Kernel, class Oracle>
void check_in_place(double most, std::size_t least_length, const Kernel& kernel, const Oracle& oracle) {
    std::vector<std::size_t> lengths;
    for (std::size_t n = least_length; n <= 2 * simd::panel_outputs + 3; ++n) lengths.push_back(n);
    lengths.insert(lengths.end(), {100, 1000});
    for (const std::size_t n : lengths) {
        for (const std::size_t shift : shifts) {
            CAPTURE(n);
            CAPTURE(shift);
            Row a{n, shift, most, n + shift};
            if (n > 20) {  // ends of the range and what is no number
                a.data()[3] = -0.0f;
                a.data()[17] = 0.0f;
                a.data()[18] = 1e-41f;
            }
            Row b = a;
            kernel(a.data(), n);
            oracle(b.data(), n);
            CHECK(a == b);
        }
    }
}

/// The same with a NaN and both infinities in the row.
template <class Kernel, class Oracle>
void check_special(const Kernel& kernel, const Oracle& oracle) {
    for (const float special :
         {not_a_number, infinity, -infinity, std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()}) {
        for (std::size_t at = 0; at < 40; at += 3) {
            CAPTURE(special);
            CAPTURE(at);
            Row a{40, 1, 3, at};
            a.data()[at] = special;
            Row b = a;
            kernel(a.data(), a.size());
            oracle(b.data(), b.size());
            CHECK(a == b);
        }
    }
}

template <class Kernel, class Oracle>
void check_row(double most, std::size_t least_length, const Kernel& kernel, const Oracle& oracle) {
    check_in_place(most, least_length, kernel, oracle);
    check_special(kernel, oracle);
}

}  // namespace

TEST_CASE("exp of a row is the plain exp") {
    const auto one_by_one = [](float* x, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) x[i] = testing::plain::exp(x[i]);
    };
    check_row(
        100, 0, [](float* x, std::size_t n) { simd::exp(x, n, x); }, one_by_one);
    // Every 4099th float.
    std::vector<float> x;
    for (std::uint32_t bits = 0; bits < 0xffffffffu - 4099; bits += 4099) x.push_back(std::bit_cast<float>(bits));
    std::vector<float> y(x.size());
    simd::exp(x.data(), x.size(), y.data());
    std::size_t different = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const float expected = testing::plain::exp(x[i]);
        if (std::isnan(expected) ? !std::isnan(y[i]) : std::memcmp(&expected, &y[i], sizeof(float)) != 0) ++different;
    }
    CHECK(different == 0);
}

TEST_CASE("Activations are the plain ones") {
    for (const double most : {1.0, 10.0, 100.0}) {
        check_row(
            most, 0, [](float* x, std::size_t n) { simd::silu(x, n); },
            [](float* x, std::size_t n) { testing::plain::silu(x, n); });
        check_row(
            most, 0, [](float* x, std::size_t n) { simd::gelu(x, n); },
            [](float* x, std::size_t n) { testing::plain::gelu(x, n); });
        check_row(
            most, 0, [](float* x, std::size_t n) { simd::gelu_erf(x, n); },
            [](float* x, std::size_t n) { testing::plain::gelu_erf(x, n); });
        check_row(
            most, 0, [](float* x, std::size_t n) { simd::relu(x, n); },
            [](float* x, std::size_t n) { testing::plain::relu(x, n); });
        check_row(
            most, 0,
            [](float* x, std::size_t n) {
                const Row up{n, 3, 2, 5};
                simd::silu_times(x, up.data(), n);
            },
            [](float* x, std::size_t n) {
                const Row up{n, 3, 2, 5};
                testing::plain::silu_times(x, up.data(), n);
            });
    }
}

TEST_CASE("Sums and scaling are the plain ones") {
    check_row(
        3, 0, [](float* x, std::size_t n) { simd::add(x, Row(n, 5, 2, 6).data(), n); },
        [](float* x, std::size_t n) { testing::plain::add(x, Row(n, 5, 2, 6).data(), n); });
    check_row(
        3, 0, [](float* x, std::size_t n) { simd::scale(x, 0.3f, n); },
        [](float* x, std::size_t n) {
            for (std::size_t i = 0; i < n; ++i) x[i] *= 0.3f;
        });
}

TEST_CASE("Norms and softmax are the plain ones") {
    const auto weight = [](std::size_t n) { return Row(n, 2, 2, 7); };
    const auto bias = [](std::size_t n) { return Row(n, 9, 1, 8); };
    check_row(
        3, 1, [&](float* x, std::size_t n) { simd::rms_norm(x, weight(n).data(), n, 1e-5f, x); },
        [&](float* x, std::size_t n) { testing::plain::rms_norm(x, weight(n).data(), n, 1e-5f, x); });
    check_row(
        3, 1, [&](float* x, std::size_t n) { simd::layer_norm(x, weight(n).data(), bias(n).data(), n, 1e-5f, x); },
        [&](float* x, std::size_t n) { testing::plain::layer_norm(x, weight(n).data(), bias(n).data(), n, 1e-5f, x); });
    for (const double most : {1.0, 200.0}) {
        check_row(
            most, 0, [](float* x, std::size_t n) { simd::softmax(x, n, x); },
            [](float* x, std::size_t n) { testing::plain::softmax(x, n, x); });
    }
}

TEST_CASE("Rotations are the plain ones") {
    const auto tables = [](std::size_t pairs, const auto& call) {
        Row cosine{pairs, 4, 1, 9};
        Row sine{pairs, 6, 1, 10};
        if (pairs > 2) {
            cosine.data()[1] = 0.0f;
            sine.data()[2] = -0.0f;
        }
        call(cosine.data(), sine.data(), pairs);
    };
    check_row(
        3, 0,
        [&](float* x, std::size_t n) {
            tables(n / 2, [&](auto* c, auto* s, std::size_t pairs) { simd::rotate_pairs(x, c, s, pairs); });
        },
        [&](float* x, std::size_t n) {
            tables(n / 2, [&](auto* c, auto* s, std::size_t pairs) { testing::plain::rotate_pairs(x, c, s, pairs); });
        });
    check_row(
        3, 0,
        [&](float* x, std::size_t n) {
            tables(n / 2, [&](auto* c, auto* s, std::size_t pairs) { simd::rotate_halves(x, c, s, pairs); });
        },
        [&](float* x, std::size_t n) {
            tables(n / 2, [&](auto* c, auto* s, std::size_t pairs) { testing::plain::rotate_halves(x, c, s, pairs); });
        });
}

template <class Element>
constexpr DType element_of = std::is_same_v<Element, float>        ? DType::f32
                             : std::is_same_v<Element, simd::Half> ? DType::f16
                             : std::is_same_v<Element, simd::Int8> ? DType::i8
                                                                   : DType::bf16;

TEST_CASE_TEMPLATE("Attention of several queries is the plain attention of each, whatever they share", Element, float,
                   simd::Half, simd::BFloat16, simd::Int8) {
    const DType element = element_of<Element>;
    for (const std::size_t d : {1u, 4u, 7u, 16u, 36u, 48u, 64u, 80u, 100u, 128u}) {
        ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = d, .positions = 384, .element = element}};
        for (std::size_t p = 0; p < 384; ++p) {
            Row key{d, 0, 1, 2 * p};
            Row value{d, 0, 1, 2 * p + 1};
            if (p > 330) std::fill_n(key.data(), d, not_a_number);
            if (p > 330) std::fill_n(value.data(), d, p % 2 == 0 ? not_a_number : infinity);
            cache.write(0, 0, p, key.data(), value.data());
        }
        const auto tile = [&](std::size_t t) { return cache.tile(0, 0, t); };
        for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 15u, 16u}) {
            for (const std::size_t start : {0u, 1u, 14u, 15u, 16u, 50u, 62u, 63u, 64u, 127u, 128u, 250u, 315u}) {
                for (const std::size_t heads : {1u, 3u}) {
                    CAPTURE(d);
                    CAPTURE(count);
                    CAPTURE(start);
                    const Row q{count * d, start % 16, start % 2 == 0 ? 1.0 : 30.0, count + start};
                    Row out{count * d, count, 1, 3};
                    Row expected = out;
                    std::vector<simd::AttentionQuery> queries;
                    for (std::size_t a = 0; a < count; ++a) {
                        const std::size_t position = start + a / heads;
                        queries.push_back({q.data() + a * d, out.data() + a * d, position});
                        testing::plain::attend<Element>(q.data() + a * d, tile, d, position, expected.data() + a * d);
                    }
                    simd::attend<Element>(queries, tile, d);
                    CHECK(out == expected);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("Scores of attention are one chain of multiply-adds each, whatever stands behind them", Element, float,
                   simd::Half, simd::BFloat16, simd::Int8) {
    for (const std::size_t d : {1u, 7u, 16u, 48u, 128u}) {
        ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = d, .positions = 384, .element = element_of<Element>}};
        for (std::size_t p = 0; p < 384; ++p) {
            Row key{d, 0, 1, 2 * p};
            if (p > 330) std::fill_n(key.data(), d, not_a_number);
            cache.write(0, 0, p, key.data(), key.data());
        }
        const auto tile = [&](std::size_t t) { return cache.tile(0, 0, t); };
        for (const std::size_t positions : {1u, 2u, 15u, 16u, 17u, 63u, 64u, 65u, 200u, 331u}) {
            CAPTURE(d);
            CAPTURE(positions);
            const Row q{d, positions % 16, 1, positions};
            Row score{positions, 3, 1, 4};
            Row expected = score;
            simd::attention_scores<Element>(q.data(), tile, d, positions, score.data());
            for (std::size_t p = 0; p < positions; ++p) {
                const auto* keys = reinterpret_cast<const Element*>(tile(p / 64).keys);
                expected.data()[p] = testing::plain::attention_score(q.data(), keys, d, p % 64);
            }
            CHECK(score == expected);
        }
    }
}

namespace {

/// Queries at neighbouring positions.
struct Neighbours {
    const float* q;
    std::size_t count, d, first;
};

/// They attend together, and each by plain loops.
template <class Element, class Tiles, class Others>
std::vector<simd::AttentionQuery> attend_both(const Neighbours& n, const Tiles& tile, const Others& others, float* out,
                                              float* expected) {
    std::vector<simd::AttentionQuery> queries;
    for (std::size_t a = 0; a < n.count; ++a) {
        queries.push_back({n.q + a * n.d, out + a * n.d, n.first + a});
        testing::plain::attend<Element>(n.q + a * n.d, tile, n.d, n.first + a, expected + a * n.d, others);
    }
    simd::attend<Element>(queries, tile, n.d, others);
    return queries;
}

}  // namespace

TEST_CASE_TEMPLATE("Attention to other spans and then to its own is the plain attention, wherever the spans are stored",
                   Element, float, simd::Half, simd::BFloat16, simd::Int8) {
    const DType element = element_of<Element>;
    for (const std::size_t d : {4u, 20u, 64u}) {
        ContiguousKVCache cache{{.layers = 3, .kv_heads = 1, .head_dim = d, .positions = 192, .element = element}};
        for (std::size_t span = 0; span < 3; ++span) {
            for (std::size_t p = 0; p < 192; ++p) {
                const Row key{d, 0, 1, 1000 * span + 2 * p};
                const Row value{d, 0, 1, 1000 * span + 2 * p + 1};
                cache.write(span, 0, p, key.data(), value.data());
            }
        }
        const auto tile_of = [&](std::size_t span) { return [&cache, span](std::size_t t) { return cache.tile(span, 0, t); }; };
        for (const std::size_t count : {1u, 4u, 7u, 16u}) {
            for (const std::size_t start : {0u, 15u, 63u, 64u, 100u}) {
                for (const auto& lengths : {std::pair{1u, 1u}, {17u, 64u}, {64u, 65u}, {192u, 3u}}) {
                    CAPTURE(d);
                    CAPTURE(count);
                    CAPTURE(start);
                    CAPTURE(lengths.first);
                    const auto others = [&](const auto& visit) {
                        visit(tile_of(1), lengths.first);
                        visit(tile_of(2), lengths.second);
                    };
                    const Row q{count * d, start % 16, 1.0, count + start};
                    Row out{count * d, count, 1, 3};
                    Row expected = out;
                    attend_both<Element>({q.data(), count, d, start}, tile_of(0), others, out.data(), expected.data());
                    CHECK(out == expected);
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("Attention in parts is the plain attention, whoever adds which part, and whoever goes along", Element, float,
                   simd::Half, simd::BFloat16, simd::Int8) {
    const DType element = element_of<Element>;
    for (const std::size_t d : {4u, 20u, 64u, 272u, 4112u}) {
        const std::size_t positions = d > 64 ? 600 : 1200;
        ContiguousKVCache cache{{.layers = 2, .kv_heads = 1, .head_dim = d, .positions = positions, .element = element}};
        for (std::size_t span = 0; span < 2; ++span) {
            for (std::size_t p = 0; p < positions; ++p) {
                const Row key{d, 0, d > 64 ? 0.1 : 1.0, 5000 * span + 2 * p};
                const Row value{d, 0, 1, 5000 * span + 2 * p + 1};
                cache.write(span, 0, p, key.data(), value.data());
            }
        }
        const auto tile_of = [&](std::size_t span) { return [&cache, span](std::size_t t) { return cache.tile(span, 0, t); }; };
        for (const std::size_t beside : {0u, 64u, 512u, 513u, 600u}) {
            for (const std::size_t start : {0u, 500u, 510u, 511u, 512u, 584u, 1020u, 1024u, 1180u}) {
                const std::size_t count = 16;
                if (start + count > positions || (d > 64 && beside > 64)) continue;
                if (d > 4096 && (beside > 0 || start != 584)) continue;  // these take long
                if (flashback_test::sanitized && ((beside > 64 && beside != 513) || d < 20)) continue;
                CAPTURE(d);
                CAPTURE(beside);
                CAPTURE(start);
                const auto others = [&](const auto& visit) {
                    if (beside > 0) visit(tile_of(1), beside);
                };
                const Row q{count * d, start % 16, 3.0, start};
                Row out{count * d, 0, 1, 3};
                Row expected = out;
                Row joined = out;
                const auto queries =
                    attend_both<Element>({q.data(), count, d, start}, tile_of(0), others, out.data(), expected.data());
                CHECK(out == expected);

                // Two share the parts of each query.
                for (std::size_t a = 0; a < count; a += 5) {
                    std::size_t parts = 1 + simd::AttentionParts::within(start + a + 1);
                    if (beside > 0) parts += simd::AttentionParts::within(beside);
                    const std::size_t size = simd::AttentionParts::sums(d);
                    std::vector<float> sums(parts * size, not_a_number);
                    const auto sums_of = [&](std::size_t, std::size_t part) { return sums.data() + part * size; };
                    for (const simd::AttentionParts its :
                         {simd::AttentionParts{parts / 2, parts}, simd::AttentionParts{0, parts / 2}}) {
                        simd::attend_parts<Element>(std::span{&queries[a], 1}, its, tile_of(0), d, others, sums_of);
                    }
                    simd::join_parts(sums.data(), parts, d, joined.data() + a * d);
                    CHECK(std::equal(joined.data() + a * d, joined.data() + (a + 1) * d, expected.data() + a * d));
                }

                // Queries at one position share the parts of all.
                if (start % 64 != 8 && start != 1020) continue;
                std::vector<simd::AttentionQuery> together = queries;
                std::size_t parts = 1 + simd::AttentionParts::within(start + 1);
                if (beside > 0) parts += simd::AttentionParts::within(beside);
                const std::size_t size = simd::AttentionParts::sums(d);
                std::vector<float> sums(count * parts * size, not_a_number);
                for (std::size_t a = 0; a < count; ++a) {
                    together[a].position = start;
                    testing::plain::attend<Element>(together[a].q, tile_of(0), d, start, expected.data() + a * d, others);
                }
                for (const simd::AttentionParts its :
                     {simd::AttentionParts{parts / 2, parts}, simd::AttentionParts{0, parts / 2}}) {
                    simd::attend_parts<Element>(together, its, tile_of(0), d, others, [&](std::size_t a, std::size_t part) {
                        return sums.data() + (a * parts + part) * size;
                    });
                }
                for (std::size_t a = 0; a < count; ++a)
                    simd::join_parts(sums.data() + a * parts * size, parts, d, joined.data() + a * d);
                CHECK(joined == expected);
            }
        }
    }
}

TEST_CASE_TEMPLATE("Attention to scores that are no numbers is the plain attention", Element, float, simd::BFloat16) {
    constexpr std::size_t d = 20;
    for (const float special : {not_a_number, infinity, -infinity}) {
        for (const std::size_t at : {0u, 5u, 63u, 64u, 99u, 511u, 512u, 599u}) {
            ContiguousKVCache cache{
                {.layers = 1, .kv_heads = 1, .head_dim = d, .positions = 640, .element = element_of<Element>}};
            for (std::size_t p = 0; p < 600; ++p) {
                Row key{d, 0, 1, p};
                if (p == at) key.data()[4] = special;
                cache.write(0, 0, p, key.data(), key.data());
            }
            const auto tile = [&](std::size_t t) { return cache.tile(0, 0, t); };
            Row q{d, 0, 1, 1};
            q.data()[4] = 1.0f;
            Row out{d, 0, 1, 2};
            Row expected = out;
            const simd::AttentionQuery query{q.data(), out.data(), 599};
            simd::attend<Element>({&query, 1}, tile, d);
            testing::plain::attend<Element>(q.data(), tile, d, 599, expected.data());
            CHECK(out == expected);
            if (special != -infinity) CHECK(std::isnan(out.data()[0]));
        }
    }
}

#include "flashback/kv/contiguous_kv_cache.hpp"

#include "flashback/core/random.hpp"
#include "flashback/kv/copy_positions.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

constexpr KVShape shape{.layers = 2, .kv_heads = 3, .head_dim = 5, .positions = 130};

// A number of its own for every element that a cache stores.
float element(std::size_t layer, std::size_t head, std::size_t position, std::size_t i, bool is_value) {
    return static_cast<float>((((layer * 3 + head) * 130 + position) * 5 + i) * 2 + (is_value ? 1 : 0));
}

void write_position(ContiguousKVCache& cache, std::size_t position, float shift = 0) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            std::vector<float> key;
            std::vector<float> value;
            for (std::size_t i = 0; i < shape.head_dim; ++i) {
                key.push_back(element(layer, head, position, i, false) + shift);
                value.push_back(element(layer, head, position, i, true) + shift);
            }
            cache.write(layer, head, position, key.data(), value.data());
        }
    }
}

ContiguousKVCache filled(std::size_t positions) {
    ContiguousKVCache cache{shape};
    for (std::size_t p = 0; p < positions; ++p) write_position(cache, p);
    cache.commit(positions);
    return cache;
}

float number(const std::byte* from, std::size_t i) {
    float x;
    std::memcpy(&x, from + i * sizeof x, sizeof x);
    return x;
}

bool holds(const ContiguousKVCache& cache, std::size_t positions, float shift = 0) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            for (std::size_t p = 0; p < positions; ++p) {
                const KVTile tile = cache.tile(layer, head, p / 64);
                for (std::size_t i = 0; i < shape.head_dim; ++i) {
                    const float key = number(tile.keys, (p % 64 / 16 * shape.head_dim + i) * 16 + p % 16);
                    const float value = number(tile.values, p % 64 * shape.head_dim + i);
                    if (key != element(layer, head, p, i, false) + shift) return false;
                    if (value != element(layer, head, p, i, true) + shift) return false;
                }
            }
        }
    }
    return true;
}

}  // namespace

TEST_CASE("hostile 19: a cache of more bytes than 64 bits count is no small one") {
    constexpr std::size_t many = std::size_t{1} << 20;
    for (const std::size_t heads : {many, many / 2, many * many})  // 2^64 bytes for the first, which is 0 in 64 bits
        CHECK_THROWS_AS((ContiguousKVCache{{.layers = many, .kv_heads = heads, .head_dim = 2, .positions = many}}),
                        std::bad_alloc);
}

TEST_CASE("A new cache holds nothing and takes whole tiles of memory") {
    const ContiguousKVCache cache{shape};
    CHECK(cache.size() == 0);
    CHECK(cache.shape() == shape);
    CHECK(cache.bytes() == std::size_t{2} * 3 * 5 * 192 * 2 * sizeof(float));
}

TEST_CASE("Keys stand dimension-major in groups of 16 positions, values row by row, the last position of the window included") {
    const ContiguousKVCache cache = filled(130);
    CHECK(cache.size() == 130);
    CHECK(holds(cache, 130));
}

TEST_CASE("A position that is written but not committed is not held") {
    ContiguousKVCache cache = filled(3);
    write_position(cache, 3);
    CHECK(cache.size() == 3);
    cache.commit(4);
    CHECK(cache.size() == 4);
    CHECK(holds(cache, 4));
}

TEST_CASE("Cutting forgets the end and leaves the rest in place") {
    ContiguousKVCache cache = filled(130);
    cache.truncate(70);
    CHECK(cache.size() == 70);
    for (std::size_t p = 70; p < 90; ++p) write_position(cache, p, 0.5f);
    CHECK(holds(cache, 70));
    cache.truncate(70);
    CHECK(cache.size() == 70);
    cache.truncate(0);
    CHECK(cache.size() == 0);
}

TEST_CASE("Cutting beyond the size is refused and changes nothing") {
    ContiguousKVCache cache = filled(7);
    CHECK_THROWS_WITH_AS(cache.truncate(8), "a KV cache of 7 positions cannot be cut to 8", Error);
    CHECK(cache.size() == 7);
    CHECK(holds(cache, 7));
}

TEST_CASE("A fork holds the same and goes its own way") {
    for (const std::size_t positions : {0u, 1u, 63u, 64u, 65u, 130u}) {
        CAPTURE(positions);
        ContiguousKVCache cache = filled(positions);
        ContiguousKVCache branch = cache.fork();
        CHECK(branch.shape() == shape);
        CHECK(branch.size() == positions);
        CHECK(holds(branch, positions));
        for (std::size_t p = 0; p < positions; ++p) write_position(branch, p, 0.5f);
        branch.truncate(0);
        CHECK(cache.size() == positions);
        CHECK(holds(cache, positions));
        CHECK(holds(branch, positions, 0.5f));
    }
}

TEST_CASE("Every tile starts on a border of 64 bytes where the width of a head allows it") {
    const ContiguousKVCache cache{KVShape{.layers = 2, .kv_heads = 2, .head_dim = 4, .positions = 200}};
    for (std::size_t t = 0; t < 4; ++t) {
        const KVTile tile = cache.tile(1, 1, t);
        CHECK(reinterpret_cast<std::size_t>(tile.keys) % 64 == 0);
        CHECK(reinterpret_cast<std::size_t>(tile.values) % 64 == 0);
    }
}

TEST_CASE("Keys and values are rounded to the element of the cache") {
    for (const DType type : {DType::f16, DType::bf16}) {
        CAPTURE(layout_of(type).name);
        const std::size_t d = 37;  // the last five by another path than the first 32
        ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = d, .positions = 100, .element = type}};
        CHECK(cache.bytes() == 128 * 2 * d * 2);
        std::vector<float> key(d);
        std::vector<float> value(d);
        for (std::size_t i = 0; i < d; ++i) {
            key[i] = 1.0f / static_cast<float>(i + 3);
            value[i] = -70000.0f / static_cast<float>(i + 1);  // the first one is beyond f16
        }
        cache.write(0, 0, 77, key.data(), value.data());
        cache.commit(78);
        const auto rounded = [&](float x) { return type == DType::f16 ? float_to_half(x) : float_to_bf16(x); };
        const auto held = [](const std::byte* from, std::size_t i) {
            std::uint16_t x;
            std::memcpy(&x, from + i * sizeof x, sizeof x);
            return x;
        };
        const ContiguousKVCache branch = cache.fork();
        for (const KVTile& tile : {cache.tile(0, 0, 1), branch.tile(0, 0, 1)}) {
            for (std::size_t i = 0; i < d; ++i) {
                CHECK(held(tile.keys, i * 16 + 13) == rounded(key[i]));
                CHECK(held(tile.values, 13 * d + i) == rounded(value[i]));
            }
        }
    }
    CHECK_THROWS_WITH_AS(ContiguousKVCache({.layers = 1, .kv_heads = 1, .head_dim = 4, .positions = 1, .element = DType::q8_0}),
                         "a KV cache of Q8_0, expected F32, F16, BF16 or I8", Error);
}

TEST_CASE("In i8 a key or a value is whole numbers of a step of its own, and what was rounded once stays as it is") {
    for (const std::size_t d : {1u, 2u, 7u, 16u, 37u}) {
        CAPTURE(d);
        const KVShape its{.layers = 2, .kv_heads = 1, .head_dim = d, .positions = 70, .element = DType::i8};
        ContiguousKVCache cache{its};
        CHECK(cache.bytes() == std::size_t{2} * 128 * 2 * (d + 4));
        SplitMix64 random{d};
        std::vector<float> row(2 * d);
        for (std::size_t p = 0; p < 70; ++p) {
            const double scale = std::pow(10.0, static_cast<double>(p % 7) * 3 - 9);
            for (float& x : row) x = static_cast<float>((2 * random.uniform() - 1) * scale);
            if (p == 5) std::fill(row.begin(), row.end(), 0.0f);
            if (p == 6) row[0] = std::numeric_limits<float>::infinity();
            if (p == 7) row[2 * d - 1] = std::numeric_limits<float>::quiet_NaN();
            for (std::size_t layer = 0; layer < 2; ++layer) cache.write(layer, 0, p, row.data(), row.data() + d);
            cache.commit(p + 1);
            std::vector<float> key(d);
            std::vector<float> value(d);
            detail::read_from_tile(cache.tile(1, 0, p / 64), its, p % 64, key.data(), value.data());
            CHECK(std::isnan(key[0]) == (p == 6));
            CHECK(std::isnan(value[0]) == (p == 7));
            if (p == 6 || p == 7) continue;
            for (const auto& [found, from] : {std::pair{&key, row.data()}, std::pair{&value, row.data() + d}}) {
                float most = 0;
                for (std::size_t i = 0; i < d; ++i) most = std::max(most, std::fabs(from[i]));
                for (std::size_t i = 0; i < d; ++i) CHECK(std::fabs((*found)[i] - from[i]) <= most / 254 * 1.0001f);
            }
        }
        ContiguousKVCache copy{its};
        copy_positions(cache, {0, 70}, copy, 0);
        copy.commit(70);
        for (std::size_t t = 0; t < 2; ++t) {
            std::vector<std::byte> a(detail::tile_bytes(its));
            std::vector<std::byte> b(detail::tile_bytes(its));
            detail::copy_tile(cache.tile(1, 0, t), its, t == 0 ? 64 : 6, a.data(), true);
            detail::copy_tile(copy.tile(1, 0, t), its, t == 0 ? 64 : 6, b.data(), true);
            const std::size_t half = a.size() / 2;
            for (std::size_t p = 0; p < (t == 0 ? 64u : 6u); ++p) {
                if (t == 0 && (p == 6 || p == 7)) continue;  // any NaN will do
                CHECK(std::memcmp(a.data() + half + p * d, b.data() + half + p * d, d) == 0);
                CHECK(std::memcmp(a.data() + half - 256 + p * 4, b.data() + half - 256 + p * 4, 4) == 0);
                CHECK(std::memcmp(a.data() + 2 * half - 256 + p * 4, b.data() + 2 * half - 256 + p * 4, 4) == 0);
            }
        }
    }
}

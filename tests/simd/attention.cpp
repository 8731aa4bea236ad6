#include "flashback/testing/plain/attention.hpp"

#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

struct Head {
    std::vector<float> query;
    std::vector<std::vector<float>> keys, values;
};

Head random_head(std::size_t d, std::size_t positions, double scale, std::uint64_t seed) {
    SplitMix64 random{seed};
    const auto row = [&](double most) {
        std::vector<float> values(d);
        for (float& value : values) value = static_cast<float>((2 * random.uniform() - 1) * most);
        return values;
    };
    Head head{row(scale), {}, {}};
    for (std::size_t p = 0; p < positions; ++p) {
        head.keys.push_back(row(1));
        head.values.push_back(row(1));
    }
    return head;
}

std::vector<float> attend(const Head& head) {
    const std::size_t d = head.query.size();
    ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = d, .positions = (head.keys.size() + 63) / 64 * 64}};
    const std::vector<float> nan(d, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t p = 0; p < cache.shape().positions; ++p) {
        const bool held = p < head.keys.size();
        cache.write(0, 0, p, (held ? head.keys[p] : nan).data(), (held ? head.values[p] : nan).data());
    }
    std::vector<float> out(d, std::numeric_limits<float>::quiet_NaN());
    testing::plain::attend<float>(
        head.query.data(), [&](std::size_t t) { return cache.tile(0, 0, t); }, d, head.keys.size() - 1, out.data());
    return out;
}

// The softmax in double, and how far the attention in float may be from it: a score of d multiply-adds is off by d roundings of
// the sum of its magnitudes, which changes each weight by that much relative, twice with the normalisation; the sums over
// positions add one rounding each, and exp 2 units.
void check_against_double(const Head& head) {
    const std::size_t d = head.query.size();
    const std::size_t n = head.keys.size();
    std::vector<double> weights(n);
    double score_error = 0;
    for (std::size_t p = 0; p < n; ++p) {
        double magnitude = 0;
        for (std::size_t i = 0; i < d; ++i) {
            const double term = static_cast<double>(head.query[i]) * static_cast<double>(head.keys[p][i]);
            weights[p] += term;
            magnitude += std::abs(term);
        }
        score_error = std::max(score_error, static_cast<double>(d) * 0x1p-24 * magnitude);
    }
    const double most = *std::max_element(weights.begin(), weights.end());
    const double least = *std::min_element(weights.begin(), weights.end());
    score_error += (most - least) * 0x1p-24;  // of the difference to the greatest score
    double total = 0;
    for (double& weight : weights) total += weight = std::exp(weight - most);

    const std::vector<float> out = attend(head);
    const std::size_t tiles = (n + 63) / 64;
    // The sums of a part are multiplied by one more e^x, which is off by 2 units, and so is their total.
    const std::size_t parts = (n + 511) / 512;
    const double relative = 2 * score_error + static_cast<double>(2 * n + 16 * tiles + 8 * parts + 16) * 0x1p-24;
    for (std::size_t i = 0; i < d; ++i) {
        double exact = 0;
        double magnitude = 0;
        for (std::size_t p = 0; p < n; ++p) {
            const double term = weights[p] / total * static_cast<double>(head.values[p][i]);
            exact += term;
            magnitude += std::abs(term);
        }
        // What exp leaves out below e^-87 is far less than the least float that matters here.
        CHECK(std::abs(static_cast<double>(out[i]) - exact) <= relative * magnitude + 1e-30);
    }
}

}  // namespace

TEST_CASE("Attention is a softmax of doubles, over one tile and over several") {
    for (const std::size_t d : {1u, 4u, 7u, 16u, 64u, 128u}) {
        for (const std::size_t positions : {1u, 2u, 15u, 16u, 17u, 63u, 64u, 65u, 127u, 128u, 129u, 200u, 321u}) {
            CAPTURE(d);
            CAPTURE(positions);
            check_against_double(random_head(d, positions, 1, d * 1000 + positions));
        }
    }
}

TEST_CASE("Attention is a softmax of doubles, over one part of the keys and over several") {
    for (const std::size_t positions : {511u, 512u, 513u, 1024u, 1025u, 1600u}) {
        CAPTURE(positions);
        check_against_double(random_head(20, positions, 1, positions));
        check_against_double(random_head(20, positions, 30, positions));
    }
}

TEST_CASE("Attention to a single key is its value") {
    const Head head = random_head(12, 1, 5, 3);
    CHECK(attend(head) == head.values[0]);
}

TEST_CASE("Attention to equal keys is the mean of their values") {
    Head head = random_head(4, 64, 1, 4);
    for (std::size_t p = 0; p < 64; ++p) {
        head.keys[p] = head.keys[0];
        head.values[p].assign(4, static_cast<float>(p));
    }
    CHECK(attend(head) == std::vector<float>(4, 31.5f));
}

TEST_CASE("Attention with large scores neither overflows nor loses the others") {
    for (const double scale : {30.0, 300.0, 3000.0}) {
        CAPTURE(scale);
        check_against_double(random_head(8, 150, scale, 77));
    }
}

TEST_CASE("A far greater score takes all, in the first tile, in a middle one and in the last") {
    for (const std::size_t winner : {0u, 63u, 64u, 100u, 128u, 149u}) {
        CAPTURE(winner);
        Head head = random_head(8, 150, 1, 78);
        for (std::size_t i = 0; i < 8; ++i) head.keys[winner][i] = 1000 * head.query[i];
        CHECK(attend(head) == head.values[winner]);
    }
}

TEST_CASE("A far greater score takes all, whichever part of the keys it is in") {
    for (const std::size_t winner : {0u, 511u, 512u, 700u, 1023u, 1024u, 1099u}) {
        CAPTURE(winner);
        Head head = random_head(8, 1100, 1, 80);
        for (std::size_t i = 0; i < 8; ++i) head.keys[winner][i] = 1000 * head.query[i];
        CHECK(attend(head) == head.values[winner]);
    }
}

TEST_CASE("Scores that are all far below 0 are weighed as others are") {
    Head head = random_head(4, 100, 1, 79);
    for (auto& key : head.keys) {
        for (std::size_t i = 0; i < 4; ++i) key[i] += head.query[i] > 0 ? -2000.0f : 2000.0f;
    }
    check_against_double(head);
}

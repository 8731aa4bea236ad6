// What logits mean, as functions of logits alone.
#include "flashback/policy/distribution.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_softmax {

using namespace flashback;

TEST_CASE("softmax, surprisal, entropy and margin say the same of the same logits") {
    const std::vector<float> logits{1.5f, -2.0f, 0.25f, -std::numeric_limits<float>::infinity(), 3.0f, 2.5f};
    std::vector<double> p(logits.size());
    softmax(logits, p);
    CHECK(std::accumulate(p.begin(), p.end(), 0.0) == doctest::Approx(1).epsilon(1e-14));
    CHECK(p[3] == 0);
    double total = 0, mean = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    for (std::size_t i = 0; i < logits.size(); ++i) {
        CHECK(p[i] == doctest::Approx(std::exp(static_cast<double>(logits[i])) / total).epsilon(1e-13));
        if (p[i] == 0) continue;
        CHECK(surprisal(logits, static_cast<TokenId>(i)) == doctest::Approx(-std::log(p[i])).epsilon(1e-13));
        mean -= p[i] * std::log(p[i]);
    }
    CHECK(entropy(logits) == doctest::Approx(mean).epsilon(1e-13));
    CHECK(margin(logits) == doctest::Approx(p[4] - p[5]).epsilon(1e-13));
}

}  // namespace test_policy_softmax

// Learning rates and AdamW against formulas written out in double.
#include "flashback/train/adamw.hpp"
#include "flashback/train/learning_rate.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("learning rates are those of Hugging Face's schedules") {
    const auto rates = [](Decay decay, double warmup) {
        const LearningRate rate{.peak = 1, .decay = decay, .warmup_ratio = warmup, .steps = 10};
        std::vector<float> out;
        for (std::uint64_t step = 0; step <= 11; ++step) out.push_back(rate.at(step));
        return out;
    };
    const auto near = [](const std::vector<float>& a, const std::vector<float>& b) {
        bool same = a.size() == b.size();
        for (std::size_t i = 0; same && i < a.size(); ++i) same &= std::abs(a[i] - b[i]) < 1e-6f;
        return same;
    };
    CHECK(near(rates(Decay::constant, 0.15), {0, 0.5f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
    CHECK(near(rates(Decay::linear, 0.2), {0, 0.5f, 1, 0.875f, 0.75f, 0.625f, 0.5f, 0.375f, 0.25f, 0.125f, 0, 0}));
    CHECK(near(rates(Decay::cosine, 0.2),
               {0, 0.5f, 1, 0.96193977f, 0.85355339f, 0.69134172f, 0.5f, 0.30865828f, 0.14644661f, 0.03806023f, 0, 0}));
    CHECK(rates(Decay::cosine, 0)[0] == 1);
    CHECK(LearningRate{.warmup_ratio = 0.1, .steps = 5000}.warmup_steps() == 500);
}

TEST_CASE("AdamW follows its formula, decay apart from the gradient") {
    const AdamWOptions options{.beta1 = 0.8f, .beta2 = 0.95f, .epsilon = 1e-3f};
    constexpr std::size_t n = 21;
    std::vector<float> parameter(n);
    std::vector<float> m(n);
    std::vector<float> v(n);
    std::vector<double> p64(n);
    std::vector<double> m64(n);
    std::vector<double> v64(n);
    for (std::size_t i = 0; i < n; ++i) {
        parameter[i] = 0.1f * static_cast<float>(i) - 1;
        p64[i] = static_cast<double>(parameter[i]);
    }
    for (std::uint64_t step = 1; step <= 5; ++step) {
        std::vector<float> gradient(n);
        for (std::size_t i = 0; i < n; ++i) gradient[i] = std::sin(static_cast<float>(i * step));
        adamw(options, {step, 0.01f, 0.5f}, {gradient.data(), parameter.data(), m.data(), v.data(), n}, 0.3f);
        for (std::size_t i = 0; i < n; ++i) {
            const double g = 0.5 * static_cast<double>(gradient[i]);
            m64[i] = 0.8 * m64[i] + 0.2 * g;
            v64[i] = 0.95 * v64[i] + 0.05 * g * g;
            const double m_hat = m64[i] / (1 - std::pow(0.8, step));
            const double v_hat = v64[i] / (1 - std::pow(0.95, step));
            p64[i] -= 0.01 * (m_hat / (std::sqrt(v_hat) + 1e-3) + 0.3 * p64[i]);
            CHECK(static_cast<double>(parameter[i]) == doctest::Approx(p64[i]).epsilon(1e-5));
        }
    }
}

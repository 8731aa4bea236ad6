/// \file The derivatives of operations on one row: norm, activation, cross entropy.
#pragma once

#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/activation.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/exp.hpp"
#include "flashback/simd/reduce.hpp"

#include <cmath>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The gradients around a norm of a row: that of what it gave, and those of what it was made of, which are added to; null for what
/// does not train.
/// Shape     each (n)
struct NormGradients {
    const float* dy;
    float* dx;
    float* dweight = nullptr;
    float* dbias = nullptr;
};

/// The derivative of rms_norm: y = x / rms · weight, rms = sqrt(mean(x²) + epsilon). With g = dy · weight:
/// dx += (g - x · mean(g x) / rms²) / rms, and dweight += dy · x / rms.
/// Shape     x, weight (n)
/// Source    Zhang and Sennrich 2019, Root mean square layer normalization, equations 4 and 7
inline void rms_norm_backward(const float* x, const float* weight, std::size_t n, float epsilon,
                              const NormGradients& gradients) noexcept {
    using simd::Lanes;
    const float* dy = gradients.dy;
    float* dx = gradients.dx;
    float* dweight = gradients.dweight;
    Lanes squares = Lanes::all(0.0f);
    Lanes products = Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes g = Lanes::load_first(dy + i, count) * Lanes::load_first(weight + i, count);
        squares = simd::fma(value, value, squares);
        products = simd::fma(value, g, products);
    });
    const auto count_of = static_cast<float>(n);
    const float inverse = 1.0f / std::sqrt(simd::tree_sum(squares) / count_of + epsilon);
#if defined(FLASHBACK_TEST_BREAK_BACKWARD)
    const float along = 0;  // the gradient check must notice that the norm's own dependence on x is missing
#else
    const float along = -(simd::tree_sum(products) / count_of) * inverse * inverse * inverse;
#endif
    const Lanes inverses = Lanes::all(inverse);
    const Lanes alongs = Lanes::all(along);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes across = simd::fma(dout * Lanes::load_first(weight + i, count), inverses, Lanes::load_first(dx + i, count));
        simd::fma(value, alongs, across).store_first(dx + i, count);
        if (dweight) simd::fma(dout, value * inverses, Lanes::load_first(dweight + i, count)).store_first(dweight + i, count);
    });
}

/// The derivative of layer_norm: y = z · weight + bias, z = (x - mean) / deviation. With g = dy · weight:
/// dx += (g - mean(g) - z · mean(g z)) / deviation, dweight += dy · z and dbias += dy.
/// Shape     x, weight (n)
/// Source    Ba, Kiros and Hinton 2016, Layer normalization, equation 4
inline void layer_norm_backward(const float* x, const float* weight, std::size_t n, float epsilon,
                                const NormGradients& gradients) noexcept {
    using simd::Lanes;
    const float* dy = gradients.dy;
    float* dx = gradients.dx;
    float* dweight = gradients.dweight;
    float* dbias = gradients.dbias;
    const auto count_of = static_cast<float>(n);
    Lanes total = Lanes::all(0.0f);
    Lanes total_g = Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        total = total + Lanes::load_first(x + i, count);
        total_g = simd::fma(Lanes::load_first(dy + i, count), Lanes::load_first(weight + i, count), total_g);
    });
    const float average = simd::tree_sum(total) / count_of;
    const Lanes mean = Lanes::all(average);
    Lanes squares = Lanes::all(0.0f);
    Lanes products = Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes off = Lanes::load_first(x + i, count, average) - mean;
        const Lanes g = Lanes::load_first(dy + i, count) * Lanes::load_first(weight + i, count);
        squares = simd::fma(off, off, squares);
        products = simd::fma(off, g, products);
    });
    const float inverse = 1.0f / std::sqrt(simd::tree_sum(squares) / count_of + epsilon);
    const Lanes inverses = Lanes::all(inverse);
    const Lanes along = Lanes::all(-(simd::tree_sum(products) / count_of) * inverse * inverse * inverse);
    const Lanes level = Lanes::all(-(simd::tree_sum(total_g) / count_of) * inverse);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes off = Lanes::load_first(x + i, count) - mean;
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes across = simd::fma(dout * Lanes::load_first(weight + i, count), inverses, Lanes::load_first(dx + i, count));
        simd::fma(off, along, across + level).store_first(dx + i, count);
        if (dweight) simd::fma(dout, off * inverses, Lanes::load_first(dweight + i, count)).store_first(dweight + i, count);
        if (dbias) (dout + Lanes::load_first(dbias + i, count)).store_first(dbias + i, count);
    });
}

/// Whether the sum of the squares of a row is finite. If it overflows, norms give zeros, and a run that has diverged looks like
/// one that finds all tokens equally likely.
/// Shape     x (n)
inline bool has_norm(const float* x, std::size_t n) noexcept {
    simd::Lanes squares = simd::Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const simd::Lanes value = simd::Lanes::load_first(x + i, count);
        squares = simd::fma(value, value, squares);
    });
    return std::isfinite(simd::tree_sum(squares));
}

/// The derivative of silu(gate) · up. With s = 1 / (1 + e^-gate): dgate = dy · up · s · (1 + gate · (1 - s)), dup = dy · gate · s.
/// Shape     gate, up, dy (n); gate and up become their gradients
/// Source    Shazeer 2020, GLU variants improve transformer, equation 6
inline void silu_times_backward(float* gate, float* up, const float* dy, std::size_t n) noexcept {
    using simd::Lanes;
    const Lanes one = Lanes::all(1.0f);
    const Lanes zero = Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes g = Lanes::load_first(gate + i, count);
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes s = one / (one + simd::exp(zero - g));
        const Lanes slope = s * simd::fma(g, one - s, one);
        (dout * Lanes::load_first(up + i, count) * slope).store_first(gate + i, count);
        (dout * (g * s)).store_first(up + i, count);
    });
}

/// The derivative of an activation without gate. With s = 1 / (1 + e^-x): silu' = s · (1 + x · (1 - s)). For GELU, s is the
/// same function of 2 u = 2 sqrt(2/pi) · (x + 0.044715 x³): gelu' = s + x · s · (1 - s) · 2 u'. relu' = 1 for x > 0, else 0.
/// Shape     x, dy (n); x becomes its gradient
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, section 2
inline void activation_backward(Activation activation, float* x, const float* dy, std::size_t n) noexcept {
    using simd::Lanes;
    const Lanes one = Lanes::all(1.0f);
    const Lanes zero = Lanes::all(0.0f);
    const Lanes linear = Lanes::all(1.5957691216f);  // 2 sqrt(2/pi)
    const Lanes cubic = Lanes::all(0.07135481283f);  // 0.044715 times that
    const Lanes slope_cubic = Lanes::all(3 * 0.07135481283f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes dout = Lanes::load_first(dy + i, count);
        Lanes gradient = zero;
        if (activation == Activation::relu) {
            gradient = where_less(zero, value, dout, zero);
        } else if (activation == Activation::silu) {
            const Lanes s = one / (one + simd::exp(zero - value));
            gradient = dout * (s * simd::fma(value, one - s, one));
        } else {
            const Lanes square = value * value;
            const Lanes s = one / (one + simd::exp(zero - value * simd::fma(cubic, square, linear)));
            const Lanes slope = (one - s) * simd::fma(slope_cubic, square, linear);
            gradient = dout * (s * simd::fma(value, slope, one));
        }
        gradient.store_first(x + i, count);
    });
}

/// -ln of the probability of a target, and its derivative: logits become their gradients, softmax(logits) - [target].
/// Shape     logits (n); those of ids that are left out are -infinity and become 0
inline double cross_entropy(float* logits, std::size_t n, std::size_t target) noexcept {
    using simd::Lanes;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    Lanes part = Lanes::all(-infinity);
    simd::each_lanes(n, [&](std::size_t i, auto count)
                            FLASHBACK_SIMD_LAMBDA { part = simd::max(part, Lanes::load_first(logits + i, count, -infinity)); });
    const float most = simd::tree_max(part);
    const float of_target = logits[target];
    const Lanes mosts = Lanes::all(most);
    Lanes sums = Lanes::all(0.0f);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes weight = simd::exp(Lanes::load_first(logits + i, count, -infinity) - mosts);
        weight.store_first(logits + i, count);
        sums = sums + weight;
    });
    const float total = simd::tree_sum(sums);
    simd::scale(logits, 1.0f / total, n);
    logits[target] -= 1.0f;
    return std::log(static_cast<double>(total)) - (static_cast<double>(of_target) - static_cast<double>(most));
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

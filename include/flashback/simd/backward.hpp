/// \file The derivatives of operations on one row: norm, activation, cross entropy.
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/reduce.hpp"
#include "flashback/simd/elementwise.hpp"

#include <cmath>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The gradients around a norm of a row: that of its result, and those of its inputs, which are added to. A pointer is null if
/// its input does not train.
/// Shape     each (n)
struct NormGradients {
    const float* dy;           ///< of the result
    float* dx;                 ///< of the row
    float* dweight = nullptr;  ///< of the weights
    float* dbias = nullptr;    ///< of the bias
};

/// The derivative of rms_norm: y = x / rms · weight, rms = sqrt(mean(x²) + epsilon). With g = dy · weight:
/// dx += (g - x · mean(g x) / rms²) / rms, and dweight += dy · x / rms.
/// Shape     x, weight (n)
/// Source    Zhang and Sennrich 2019, Root mean square layer normalization, equations 4 and 7
inline void rms_norm_backward(const float* x, const float* weight, std::size_t n, float epsilon,
                              const NormGradients& gradients) noexcept {
    const float* dy = gradients.dy;
    float* dx = gradients.dx;
    float* dweight = gradients.dweight;
    Lanes squares = Lanes::all(0.0f);
    Lanes products = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes g = Lanes::load_first(dy + i, count) * Lanes::load_first(weight + i, count);
        squares = fma(value, value, squares);
        products = fma(value, g, products);
    });
    const auto count_of = static_cast<float>(n);
    const float inverse = 1.0f / std::sqrt(tree_sum(squares) / count_of + epsilon);
#if defined(FLASHBACK_TEST_BREAK_BACKWARD)
    const float along = 0;  // the gradient check must notice that the norm's own dependence on x is missing
#else
    const float along = -(tree_sum(products) / count_of) * inverse * inverse * inverse;
#endif
    const Lanes inverses = Lanes::all(inverse);
    const Lanes alongs = Lanes::all(along);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes across = fma(dout * Lanes::load_first(weight + i, count), inverses, Lanes::load_first(dx + i, count));
        fma(value, alongs, across).store_first(dx + i, count);
        if (dweight) fma(dout, value * inverses, Lanes::load_first(dweight + i, count)).store_first(dweight + i, count);
    });
}

/// The derivative of layer_norm: y = z · weight + bias, z = (x - mean) / deviation. With g = dy · weight:
/// dx += (g - mean(g) - z · mean(g z)) / deviation, dweight += dy · z and dbias += dy.
/// Shape     x, weight (n)
/// Source    Ba, Kiros and Hinton 2016, Layer normalization, equation 4
inline void layer_norm_backward(const float* x, const float* weight, std::size_t n, float epsilon,
                                const NormGradients& gradients) noexcept {
    const float* dy = gradients.dy;
    float* dx = gradients.dx;
    float* dweight = gradients.dweight;
    float* dbias = gradients.dbias;
    const auto count_of = static_cast<float>(n);
    Lanes total = Lanes::all(0.0f);
    Lanes total_g = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        total = total + Lanes::load_first(x + i, count);
        total_g = fma(Lanes::load_first(dy + i, count), Lanes::load_first(weight + i, count), total_g);
    });
    const float average = tree_sum(total) / count_of;
    const Lanes mean = Lanes::all(average);
    Lanes squares = Lanes::all(0.0f);
    Lanes products = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes off = Lanes::load_first(x + i, count, average) - mean;
        const Lanes g = Lanes::load_first(dy + i, count) * Lanes::load_first(weight + i, count);
        squares = fma(off, off, squares);
        products = fma(off, g, products);
    });
    const float inverse = 1.0f / std::sqrt(tree_sum(squares) / count_of + epsilon);
    const Lanes inverses = Lanes::all(inverse);
    const Lanes along = Lanes::all(-(tree_sum(products) / count_of) * inverse * inverse * inverse);
    const Lanes level = Lanes::all(-(tree_sum(total_g) / count_of) * inverse);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes off = Lanes::load_first(x + i, count) - mean;
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes across = fma(dout * Lanes::load_first(weight + i, count), inverses, Lanes::load_first(dx + i, count));
        fma(off, along, across + level).store_first(dx + i, count);
        if (dweight) fma(dout, off * inverses, Lanes::load_first(dweight + i, count)).store_first(dweight + i, count);
        if (dbias) (dout + Lanes::load_first(dbias + i, count)).store_first(dbias + i, count);
    });
}

/// Whether the sum of the squares of a row is finite. If it overflows, norms give zeros, and a run that has diverged looks like
/// one that finds all tokens equally likely.
/// Shape     x (n)
inline bool has_norm(const float* x, std::size_t n) noexcept {
    Lanes squares = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        squares = fma(value, value, squares);
    });
    return std::isfinite(tree_sum(squares));
}

/// The derivative of silu(gate) · up. With s = 1 / (1 + e^-gate): dgate = dy · up · s · (1 + gate · (1 - s)), dup = dy · gate · s.
/// Shape     gate, up, dy (n); gate and up become their gradients
/// Source    Shazeer 2020, GLU variants improve transformer, equation 6
inline void silu_times_backward(float* gate, float* up, const float* dy, std::size_t n) noexcept {
    const Lanes one = Lanes::all(1.0f);
    const Lanes zero = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes g = Lanes::load_first(gate + i, count);
        const Lanes dout = Lanes::load_first(dy + i, count);
        const Lanes s = one / (one + exp(zero - g));
        const Lanes slope = s * fma(g, one - s, one);
        (dout * Lanes::load_first(up + i, count) * slope).store_first(gate + i, count);
        (dout * (g * s)).store_first(up + i, count);
    });
}

/// The derivative of silu: with s = 1 / (1 + e^-x), s · (1 + x · (1 - s)).
/// Shape     x, dy (n); x becomes its gradient
inline void silu_backward(float* x, const float* dy, std::size_t n) noexcept {
    const Lanes one = Lanes::all(1.0f);
    const Lanes zero = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes s = one / (one + exp(zero - value));
        (Lanes::load_first(dy + i, count) * (s * fma(value, one - s, one))).store_first(x + i, count);
    });
}

/// The derivative of gelu: with s = 1 / (1 + e^-2u), u = sqrt(2/pi) · (x + 0.044715 x³), s + x · s · (1 - s) · 2 u'.
/// Shape     x, dy (n); x becomes its gradient
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, section 2
inline void gelu_backward(float* x, const float* dy, std::size_t n) noexcept {
    const Lanes one = Lanes::all(1.0f);
    const Lanes zero = Lanes::all(0.0f);
    const Lanes linear = Lanes::all(1.5957691216f);  // 2 sqrt(2/pi)
    const Lanes cubic = Lanes::all(0.07135481283f);  // 0.044715 times that
    const Lanes slope_cubic = Lanes::all(3 * 0.07135481283f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes square = value * value;
        const Lanes s = one / (one + exp(zero - value * fma(cubic, square, linear)));
        const Lanes slope = (one - s) * fma(slope_cubic, square, linear);
        (Lanes::load_first(dy + i, count) * (s * fma(value, slope, one))).store_first(x + i, count);
    });
}

/// The derivative of relu: 1 for x > 0, else 0.
/// Shape     x, dy (n); x becomes its gradient
inline void relu_backward(float* x, const float* dy, std::size_t n) noexcept {
    const Lanes zero = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        where_less(zero, Lanes::load_first(x + i, count), Lanes::load_first(dy + i, count), zero).store_first(x + i, count);
    });
}

/// The derivative of softmax in attention: from the gradient of the weights to that of the scores, dp = p · (dp - sum(out ·
/// dout)).
/// Shape     out, dout (d)   p, dp (padded(n))
/// Source    Dao et al. 2022, FlashAttention, algorithm 4
inline void attention_scores_backward(const float* out, const float* dout, std::size_t d, const float* p, float* dp,
                                      std::size_t n) noexcept {
    Lanes sums = Lanes::all(0.0f);
    each_lanes(d, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        sums = fma(Lanes::load_first(out + i, count), Lanes::load_first(dout + i, count), sums);
    });
    const Lanes mean = Lanes::all(tree_sum(sums));
    for (std::size_t i = 0; i < n; i += panel_outputs) (Lanes::load(p + i) * (Lanes::load(dp + i) - mean)).store(dp + i);
}

/// The sum of the squares of 16 numbers, in the fixed tree.
/// Shape     x (16)
inline float sum_of_squares(const float* x) noexcept {
    const Lanes value = Lanes::load(x);
    return tree_sum(value * value);
}

/// -ln of the probability of a target, and its derivative: logits become their gradients, softmax(logits) - [target].
/// Shape     logits (n); those of ids that are left out are -infinity and become 0
inline double cross_entropy(float* logits, std::size_t n, std::size_t target) noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    Lanes part = Lanes::all(-infinity);
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { part = max(part, Lanes::load_first(logits + i, count, -infinity)); });
    const float most = tree_max(part);
    const float of_target = logits[target];
    const Lanes mosts = Lanes::all(most);
    Lanes sums = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes weight = exp(Lanes::load_first(logits + i, count, -infinity) - mosts);
        weight.store_first(logits + i, count);
        sums = sums + weight;
    });
    const float total = tree_sum(sums);
    scale(logits, 1.0f / total, n);
    logits[target] -= 1.0f;
    return std::log(static_cast<double>(total)) - (static_cast<double>(of_target) - static_cast<double>(most));
}

}  // namespace flashback::inline FLASHBACK_ISA::simd

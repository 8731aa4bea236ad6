/// \file The derivative of an activation without gates.
#pragma once

#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/backward.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Shape     x, dy (n); x becomes its gradient
inline void activation_backward(Activation activation, float* x, const float* dy, std::size_t n) noexcept {
    switch (activation) {
        case Activation::silu: return simd::silu_backward(x, dy, n);
        case Activation::gelu_tanh: return simd::gelu_backward(x, dy, n);
        case Activation::relu: return simd::relu_backward(x, dy, n);
        case Activation::gelu: return;  // of encoders, which are not trained
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file The function between the matrices of a feed-forward layer.
#pragma once

#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/activation.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// x = act(x).
/// Shape     x (n)
inline void activate(Activation activation, float* x, std::size_t n) noexcept {
    switch (activation) {
        case Activation::silu: return simd::silu(x, n);
        case Activation::gelu_tanh: return simd::gelu(x, n);
        case Activation::relu: return simd::relu(x, n);
        case Activation::gelu: return simd::gelu_erf(x, n);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA

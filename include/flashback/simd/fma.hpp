/// \file The one place where products are added: rounding is decided here, not by the compiler (rule R8).
///
/// Every a * b + c of the forward path is an explicit `fma`. Where the instruction set has a fused multiply-add it is
/// used; where it has none, the product and the sum are rounded one after the other. Both are the same at every call.
#pragma once

#include "flashback/core/config.hpp"

#if defined(__FAST_MATH__) && !defined(FLASHBACK_ALLOW_FAST_MATH)
#error "flashback: -ffast-math breaks bit-exact reuse; define FLASHBACK_ALLOW_FAST_MATH to do without that promise"
#endif

namespace flashback::inline FLASHBACK_ISA::simd {

/// a * b + c, rounded once where the instruction set can, else twice; never a choice of the compiler.
inline float fma(float a, float b, float c) noexcept {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;  // without the instruction there is nothing that a compiler could contract this to
#endif
}

}  // namespace flashback::inline FLASHBACK_ISA::simd

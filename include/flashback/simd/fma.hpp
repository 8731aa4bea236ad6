/// \file The one place where products are added: we decide how they are rounded, not the compiler (rule R8;
/// include/flashback/README.md has the rules).
///
/// Every a * b + c of the forward path is an explicit `fma`. If the instruction set has a fused multiply-add, it is used;
/// otherwise the product and the sum are rounded one after the other. Either way it is the same at every call, and the same for
/// one float as for a batch of them.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>

/// \def FLASHBACK_SIMD_FLOATS
/// How many floats a register of the kernels holds. FLASHBACK_SIMD_PORTABLE asks for the batch of one float that is used on
/// processors without a body of their own.
#if defined(FLASHBACK_SIMD_PORTABLE)
#define FLASHBACK_SIMD_FLOATS 1
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define FLASHBACK_SIMD_FLOATS 16
#elif defined(__AVX__)
#define FLASHBACK_SIMD_FLOATS 8
#elif defined(__x86_64__) || defined(__ARM_NEON)
#define FLASHBACK_SIMD_FLOATS 4
#else
#define FLASHBACK_SIMD_FLOATS 1
#endif
#if FLASHBACK_SIMD_FLOATS > 1
#include <xsimd/xsimd.hpp>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// FLASHBACK_SIMD_AMX: products of bf16 have the arithmetic of Intel's tiles (simd/tiles.hpp), with the instructions or
// because FLASHBACK_AMX_EMULATE asks for their software twin. What bf16 weights and activations look like depends on it,
// and the plain loops do. Quantised weights are multiplied in tiles, too, and keep their arithmetic.
#if defined(FLASHBACK_AMX_EMULATE)
#if !defined(__x86_64__) || !defined(__FMA__)
#error "flashback: FLASHBACK_AMX_EMULATE needs an x86-64 processor with FMA (-march=x86-64-v3)"
#endif
#define FLASHBACK_SIMD_AMX
#elif FLASHBACK_SIMD_FLOATS == 16 && defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(FLASHBACK_DETAIL_TILES)
#define FLASHBACK_SIMD_AMX
#endif

#if defined(__FAST_MATH__) && !defined(FLASHBACK_ALLOW_FAST_MATH)
#error "flashback: -ffast-math breaks bit-exact reuse; define FLASHBACK_ALLOW_FAST_MATH to do without that promise"
#endif

/// For small pieces of kernels: their accumulators stay in registers only if the pieces are inlined.
#define FLASHBACK_SIMD_INLINE [[gnu::always_inline]] inline
/// Stands after the parameters of a lambda: in large programs g++ does not inline some of them and keeps the lanes in memory.
#define FLASHBACK_SIMD_LAMBDA __attribute__((always_inline))

namespace flashback::inline FLASHBACK_ISA::simd {

#if FLASHBACK_SIMD_FLOATS == 1
using Batch = float;
#else
// Named here instead of taking xsimd::default_arch, so that a type of batch belongs to one value of FLASHBACK_ISA: then
// translation units with different flags share no function of xsimd either. One register may serve several instruction sets, so
// the name is our own, on top of xsimd's. The kernels only use plain arithmetic of floats, in which those sets do not differ.
namespace detail {

#if FLASHBACK_SIMD_FLOATS == 16
using RegisterArch = xsimd::avx512bw;
#elif FLASHBACK_SIMD_FLOATS == 8
using RegisterArch = xsimd::avx;
#elif defined(__x86_64__)
using RegisterArch = xsimd::sse2;
#elif defined(__aarch64__)
using RegisterArch = xsimd::neon64;
#else
using RegisterArch = xsimd::neon;
#endif
#if FLASHBACK_SIMD_FLOATS < 16 && defined(__x86_64__)
/// The type of a batch has a name of our own.
#define FLASHBACK_SIMD_OWN_ARCH
struct BatchArch : RegisterArch {};
#else
using BatchArch = RegisterArch;  // no other instruction set that is told apart here has these registers
#endif

}  // namespace detail
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd

#if defined(FLASHBACK_SIMD_OWN_ARCH)
namespace xsimd::types {

// Holds the same register, but is not derived from it: then its functions would be shared.
template <class T>
struct simd_register<T, ::flashback::simd::detail::BatchArch> {
    using register_type = typename simd_register<T, ::flashback::simd::detail::RegisterArch>::register_type;
    register_type data;
    operator register_type() const noexcept { return data; }
};
template <class T>
struct has_simd_register<T, ::flashback::simd::detail::BatchArch>
    : has_simd_register<T, ::flashback::simd::detail::RegisterArch> {};

}  // namespace xsimd::types
#endif

namespace flashback::inline FLASHBACK_ISA::simd {

#if FLASHBACK_SIMD_FLOATS > 1
/// As many floats as a register holds.
using Batch = xsimd::batch<float, detail::BatchArch>;
#endif
/// How many floats a Batch holds.
inline constexpr std::size_t batch_floats = FLASHBACK_SIMD_FLOATS;

/// a * b + c, rounded once if the instruction set can do that, else twice; the compiler has no choice.
FLASHBACK_SIMD_INLINE float fma(float a, float b, float c) noexcept {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;  // without the instruction, no compiler can contract this
#endif
}

/// The same number, as the result of an operation of its own: no compiler can contract what stands before with what comes
/// after.
FLASHBACK_SIMD_INLINE float rounded(float x) noexcept {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#elif defined(__ARM_FEATURE_FMA)
    asm("" : "+t"(x));
#endif
    return x;
}

#if FLASHBACK_SIMD_FLOATS > 1
/// `fma` in every lane. It uses the intrinsics, because xsimd 8.1 computes x * y + z for AVX-512.
FLASHBACK_SIMD_INLINE Batch fma(const Batch& a, const Batch& b, const Batch& c) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    return _mm512_fmadd_ps(a, b, c);
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_FEATURE_FMA)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

/// The same numbers, as the results of operations of their own.
FLASHBACK_SIMD_INLINE Batch rounded(const Batch& x) noexcept {
    typename Batch::register_type bits = x;
#if FLASHBACK_SIMD_FLOATS == 16
    asm("" : "+v"(bits));
#elif defined(__x86_64__)
    asm("" : "+x"(bits));
#else
    asm("" : "+w"(bits));
#endif
    return bits;
}
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd

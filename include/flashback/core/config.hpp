/// \file The names that depend on how a translation unit is compiled: its instruction set and its language options.
#pragma once

#if __cplusplus < 202002L && (!defined(_MSVC_LANG) || _MSVC_LANG < 202002L)
#error "flashback needs C++20: -std=c++20, or target_compile_features(... cxx_std_20)"
#endif

#if defined(FLASHBACK_SINGLE_HEADER)
#error "flashback: a header of the folder flashback/ comes after a single header; a source includes the one or the other"
#endif

// Tiles that multiply bf16 and bytes; clang 14 spells it in its own way.
#if (defined(__AMX_TILE__) || defined(__AMXTILE__)) && (defined(__AMX_BF16__) || defined(__AMXBF16__)) && \
    (defined(__AMX_INT8__) || defined(__AMXINT8__))
#define FLASHBACK_DETAIL_TILES
#endif

/// The inline namespace that every name of the library lives in: one per instruction set, and another without exceptions.
///
/// Two translation units of one program may be compiled with different `-march` flags. Without the tag the linker would keep
/// one of the two copies of each inline function, and the older processor would meet instructions that it lacks. With
/// `-fno-exceptions`, each function that reports an error becomes another function (core/error.hpp). Flags that give the same
/// tag, as `-mssse3` and plain x86-64 do, are not kept apart: translation units with one tag need the same flags.
/// FLASHBACK_AMX_EMULATE, which gives the arithmetic of `amx` to another processor, has a tag for each: `avx2_as_amx`.
#if !defined(FLASHBACK_ISA)
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#if defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(FLASHBACK_DETAIL_TILES) && !defined(FLASHBACK_AMX_EMULATE)
#define FLASHBACK_DETAIL_ISA amx
#elif defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#define FLASHBACK_DETAIL_ISA avx512_bf16
#elif defined(__AVX512VNNI__)
#define FLASHBACK_DETAIL_ISA avx512_vnni
#else
#define FLASHBACK_DETAIL_ISA avx512
#endif
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define FLASHBACK_DETAIL_ISA avx2_vnni
#elif defined(__AVX2__) && defined(__FMA__)
#define FLASHBACK_DETAIL_ISA avx2
#elif defined(__AVX__)
#define FLASHBACK_DETAIL_ISA avx
#elif defined(__SSE4_2__)
#define FLASHBACK_DETAIL_ISA sse4
#elif defined(__x86_64__) || defined(_M_X64)
#define FLASHBACK_DETAIL_ISA sse2
#elif defined(__ARM_NEON)
#define FLASHBACK_DETAIL_ISA neon
#else
#define FLASHBACK_DETAIL_ISA portable
#endif
#define FLASHBACK_DETAIL_PASTE(a, b) a##b
#define FLASHBACK_DETAIL_EXPAND_PASTE(a, b) FLASHBACK_DETAIL_PASTE(a, b)
#if defined(FLASHBACK_AMX_EMULATE)  // other sums of bf16 (simd/tiles.hpp)
#define FLASHBACK_DETAIL_SUMS_ISA FLASHBACK_DETAIL_EXPAND_PASTE(FLASHBACK_DETAIL_ISA, _as_amx)
#else
#define FLASHBACK_DETAIL_SUMS_ISA FLASHBACK_DETAIL_ISA
#endif
#if defined(__cpp_exceptions)
#define FLASHBACK_ISA FLASHBACK_DETAIL_SUMS_ISA
#else
#define FLASHBACK_ISA FLASHBACK_DETAIL_EXPAND_PASTE(FLASHBACK_DETAIL_SUMS_ISA, _noexcept)
#endif
#endif

#define FLASHBACK_DETAIL_QUOTE(x) #x
#define FLASHBACK_DETAIL_EXPAND_QUOTE(x) FLASHBACK_DETAIL_QUOTE(x)
/// The tag of this translation unit as text, e.g. "avx512" or "avx512_noexcept".
#define FLASHBACK_ISA_NAME FLASHBACK_DETAIL_EXPAND_QUOTE(FLASHBACK_ISA)

/// A member that takes no room if its type is empty.
#if defined(_MSC_VER) && !defined(__clang__)
#define FLASHBACK_NO_UNIQUE_ADDRESS [[msvc::no_unique_address]]
#else
#define FLASHBACK_NO_UNIQUE_ADDRESS [[no_unique_address]]
#endif

/// Stands before the definition of a function that may be compiled once. With FLASHBACK_COMPILED_ONCE, only the source that
/// includes flashback/compile_once.hpp compiles it; without that macro, every translation unit does.
#if defined(FLASHBACK_COMPILED_ONCE)
#define FLASHBACK_DETAIL_ONCE
#else
#define FLASHBACK_DETAIL_ONCE inline
#endif

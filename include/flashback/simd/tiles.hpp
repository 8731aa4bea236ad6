/// \file Intel's tiles (AMX), which multiply weights, keys and values of bf16 and quantised weights under the tag `amx`: whether
/// this process may use them.
///
/// The tag is that of `-mamx-tile -mamx-bf16 -mamx-int8` beside AVX-512 with VNNI and BF16. The arithmetic of bf16 is that of one
/// instruction, TDPBF16PS, for every number of rows; testing::plain::dot_bf16 and testing::plain::attend say what it is. A
/// software twin has the same bits. It serves products if the kernel refuses the tiles (attention takes vectors then), and
/// programs that are compiled with FLASHBACK_AMX_EMULATE, which gives any x86-64 processor with FMA this arithmetic, slowly, for tests.
///
/// Weights of Q8_0, Q4_0, Q4_K and Q6_K meet 16 rows or more in tiles (TDPBSSD), fewer rows in vectors, and all in vectors if
/// the kernel refuses. Their sums of integers are exact, so the bits are those of AVX-512 with VNNI. Tiles of bf16 for Q8_0 were
/// not tried: that needs a processor with AMX to measure on.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/simd/fma.hpp"

#if defined(FLASHBACK_SIMD_AMX) && !defined(FLASHBACK_AMX_EMULATE)
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include <cstdint>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::simd {

/// What multiplies bf16, and quantised weights if there are 16 rows or more.
enum class TileUse : std::uint8_t {
    none,      ///< what the tag of the instruction set says; tiles have no part in it
    tiles,     ///< the processor's tiles
    emulated,  ///< their software twin, as FLASHBACK_AMX_EMULATE asks
    refused,   ///< the software twin for products of bf16, vectors for the rest, because the kernel gives no permission
};

/// Whether products use tiles, and why.
struct Tiles {
    TileUse use;              ///< what multiplies
    std::string_view reason;  ///< half a sentence for a user; empty for `none`
};

/// Asks the kernel once for the permission to use tiles, for all threads of the process, if the tag is `amx`.
inline Tiles tiles() noexcept {
#if !defined(FLASHBACK_SIMD_AMX)
    return {TileUse::none, {}};
#elif defined(FLASHBACK_AMX_EMULATE)
    return {TileUse::emulated, "bf16 and 8-bit integers in emulated tiles, as FLASHBACK_AMX_EMULATE asks"};
#else
#if defined(__linux__)
    constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, which Debian 12 lacks
    constexpr long tile_data = 18;
    static const bool permitted = ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    constexpr bool permitted = false;
#endif
    if (permitted) return {TileUse::tiles, "bf16 and 8-bit integers in tiles"};
    return {TileUse::refused, "bf16 in emulated tiles, slowly: the kernel refuses the processor's"};
#endif
}

}  // namespace flashback::inline FLASHBACK_ISA::simd

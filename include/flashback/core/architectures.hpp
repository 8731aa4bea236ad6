/// \file One program for several processors: functions that are compiled once for each instruction set, and chosen at run time.
///
/// CMake compiles them: `flashback_add_architectures(program SOURCES unit.cpp ISAS sse2 avx2 avx512_bf16)`. A header that the program and
/// the unit share declares what the unit defines in a namespace called FLASHBACK_ISA:
///
///     namespace app {
///     FLASHBACK_ARCHITECTURES(read, double(std::string_view text));       // in the header
///     double FLASHBACK_ISA::read(std::string_view text) { ... }           // in unit.cpp, for each instruction set
///     }
///     app::read("some text")                                              // in the program: the best that this processor can run
///
/// Arguments and results have plain types only: the name of every type of flashback contains the instruction set.
#pragma once

#include "flashback/core/config.hpp"

#include <array>
#include <cstddef>
#include <string_view>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// The instruction set that a tag begins with.
constexpr std::string_view instruction_set(std::string_view tag) noexcept {
    for (const std::string_view suffix : {std::string_view{"_noexcept"}, std::string_view{"_as_amx"}}) {
        if (tag.ends_with(suffix)) tag.remove_suffix(suffix.size());
    }
    return tag;
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/// Whether the processor multiplies bf16 and bytes in tiles, and the operating system keeps them for each thread. (clang 14 has no name for
/// that in __builtin_cpu_supports.)
/// Requires  AVX
inline bool has_tiles() {
    unsigned a = 7, b, c = 0, d;
    asm("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    constexpr unsigned bf16_tiles_and_int8 = 1u << 22 | 1u << 24 | 1u << 25;
    if ((d & bf16_tiles_and_int8) != bf16_tiles_and_int8) return false;
    asm("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    constexpr unsigned configuration_and_data = 3u << 17;
    return (a & configuration_and_data) == configuration_and_data;
}
#endif

}  // namespace detail

/// Whether this processor has the instructions of `isa`: `sse2`, `sse4`, `avx`, `avx2`, `avx512`, `avx512_vnni`, `avx512_bf16` or
/// `amx`. One of them that emulates tiles (`avx2_as_amx`) needs no more than it does itself.
/// Requires  g++ or clang on x86-64; elsewhere it is true for the instruction set of this translation unit only
[[nodiscard]] inline bool runs_here(std::string_view isa) {
    isa = detail::instruction_set(isa);
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    if (isa == "sse2") return true;
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return false;
    if (isa == "sse4") return true;
    if (isa == "avx") return __builtin_cpu_supports("avx");
    // With these a processor has all of x86-64-v3.
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2")) return false;
    if (isa == "avx2") return true;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512cd") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return false;
    if (isa == "avx512") return true;
    if (!__builtin_cpu_supports("avx512vnni")) return false;
    if (isa == "avx512_vnni") return true;
    if (!__builtin_cpu_supports("avx512bf16")) return false;
    return isa == "avx512_bf16" || (isa == "amx" && detail::has_tiles());
#else
    return isa == detail::instruction_set(FLASHBACK_ISA_NAME);
#endif
}

template <class Signature>
class PerArchitecture;

/// One function for each instruction set that a program carries, the plainest first. A call takes the best that this processor can run.
/// FLASHBACK_ARCHITECTURES makes it.
template <class Result, class... Arguments>
class PerArchitecture<Result(Arguments...)> {
public:
    /// The function for one instruction set.
    struct Unit {
        std::string_view isa;                        ///< FLASHBACK_ISA of the source
        Result (*function)(Arguments...) = nullptr;  ///< to be called where it runs

        /// Whether this processor has the instructions.
        bool runs_here() const { return flashback::runs_here(isa); }
    };

    /// The units, the plainest first.
    /// Requires  1 to 7 of them; the first runs everywhere
    template <std::size_t N>
    explicit constexpr PerArchitecture(const Unit (&units)[N]) : size_{N} {
        static_assert(N <= 7, "flashback: a program carries at most 7 instruction sets");
        for (std::size_t i = 0; i < N; ++i) units_[i] = units[i];
    }

    /// The plainest unit.
    const Unit* begin() const { return units_.data(); }
    /// Behind the richest unit.
    const Unit* end() const { return units_.data() + size_; }

    /// The best that this processor can run.
    const Unit& best() const {
        std::size_t found = 0;
        for (std::size_t i = 1; i < size_; ++i) {
            if (units_[i].runs_here()) found = i;
        }
        return units_[found];
    }

    /// Calls the best.
    /// Cost      asks the processor at each call: a few loads
    Result operator()(Arguments... arguments) const { return best().function(static_cast<Arguments&&>(arguments)...); }

private:
    std::array<Unit, 7> units_{};
    std::size_t size_;
};

}  // namespace flashback::inline FLASHBACK_ISA

// flashback_add_architectures() defines FLASHBACK_ARCHITECTURE_... for each unit. Without any, there is one with the flags of the program.
#if defined(__cpp_exceptions)
#define FLASHBACK_DETAIL_TAG(isa) isa
#else
#define FLASHBACK_DETAIL_TAG(isa) isa##_noexcept
#endif
#define FLASHBACK_DETAIL_NO_UNIT(...)
#if defined(FLASHBACK_ARCHITECTURE_SSE2)
#define FLASHBACK_DETAIL_SSE2(X, ...) X(FLASHBACK_DETAIL_TAG(sse2), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_SSE2 FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_SSE4)
#define FLASHBACK_DETAIL_SSE4(X, ...) X(FLASHBACK_DETAIL_TAG(sse4), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_SSE4 FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_AVX2)
#define FLASHBACK_DETAIL_AVX2(X, ...) X(FLASHBACK_DETAIL_TAG(avx2), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_AVX2 FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_AVX512)
#define FLASHBACK_DETAIL_AVX512(X, ...) X(FLASHBACK_DETAIL_TAG(avx512), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_AVX512 FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_AVX512_VNNI)
#define FLASHBACK_DETAIL_AVX512_VNNI(X, ...) X(FLASHBACK_DETAIL_TAG(avx512_vnni), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_AVX512_VNNI FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_AVX512_BF16)
#define FLASHBACK_DETAIL_AVX512_BF16(X, ...) X(FLASHBACK_DETAIL_TAG(avx512_bf16), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_AVX512_BF16 FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_AMX)
#define FLASHBACK_DETAIL_AMX(X, ...) X(FLASHBACK_DETAIL_TAG(amx), __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_AMX FLASHBACK_DETAIL_NO_UNIT
#endif
#if defined(FLASHBACK_ARCHITECTURE_SSE2) || defined(FLASHBACK_ARCHITECTURE_SSE4) || defined(FLASHBACK_ARCHITECTURE_AVX2) || \
    defined(FLASHBACK_ARCHITECTURE_AVX512) || defined(FLASHBACK_ARCHITECTURE_AVX512_VNNI) ||                                \
    defined(FLASHBACK_ARCHITECTURE_AVX512_BF16) || defined(FLASHBACK_ARCHITECTURE_AMX)
#define FLASHBACK_DETAIL_EACH_ARCHITECTURE(X, ...) \
    FLASHBACK_DETAIL_SSE2(X, __VA_ARGS__)          \
    FLASHBACK_DETAIL_SSE4(X, __VA_ARGS__)          \
    FLASHBACK_DETAIL_AVX2(X, __VA_ARGS__)          \
    FLASHBACK_DETAIL_AVX512(X, __VA_ARGS__)        \
    FLASHBACK_DETAIL_AVX512_VNNI(X, __VA_ARGS__)   \
    FLASHBACK_DETAIL_AVX512_BF16(X, __VA_ARGS__)   \
    FLASHBACK_DETAIL_AMX(X, __VA_ARGS__)
#else
#define FLASHBACK_DETAIL_EACH_ARCHITECTURE(X, ...) X(FLASHBACK_ISA, __VA_ARGS__)
#endif
#define FLASHBACK_DETAIL_DECLARE_UNIT(isa, name, ...) \
    namespace isa {                                   \
    std::type_identity_t<__VA_ARGS__> name;           \
    }
#define FLASHBACK_DETAIL_LIST_UNIT(isa, name) {FLASHBACK_DETAIL_EXPAND_QUOTE(isa), &isa::name},

/// Declares the function `name` with the signature that follows, `double(std::string_view)` for example, once for each instruction set of the
/// program, and `name` itself, which calls the best one (a PerArchitecture). For the scope of a namespace.
#define FLASHBACK_ARCHITECTURES(name, ...)                                               \
    FLASHBACK_DETAIL_EACH_ARCHITECTURE(FLASHBACK_DETAIL_DECLARE_UNIT, name, __VA_ARGS__) \
    [[maybe_unused]] constexpr ::flashback::PerArchitecture<__VA_ARGS__> name {          \
        { FLASHBACK_DETAIL_EACH_ARCHITECTURE(FLASHBACK_DETAIL_LIST_UNIT, name) }         \
    }

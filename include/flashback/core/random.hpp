/// \file Random numbers that are the same everywhere.
#pragma once

#include "flashback/core/config.hpp"

#include <cstdint>

namespace flashback::inline FLASHBACK_ISA {

/// A seeded stream of random numbers that is the same with every standard library.
/// Source    Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators (SplitMix64)
class SplitMix64 {
public:
    /// What the state grows by with each number. So SplitMix64{seed + i * increment} gives the stream of `seed` without its
    /// first i numbers.
    static constexpr std::uint64_t increment = 0x9e3779b97f4a7c15u;

    /// The same seed gives the same numbers, on every machine.
    constexpr explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}

    /// The next 64 random bits.
    constexpr std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += increment);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

    /// A number in [0, 1) with 53 random bits.
    constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

    /// A number in [0, n). All are equally likely, to within n / 2^64.
    /// Requires  n > 0
    constexpr std::uint64_t below(std::uint64_t n) noexcept { return next() % n; }

private:
    std::uint64_t state_;
};

/// A key that depends on all of some numbers and on their order.
template <class... Numbers>
constexpr std::uint64_t random_key(std::uint64_t seed, Numbers... numbers) noexcept {
    ((seed = SplitMix64{seed ^ static_cast<std::uint64_t>(numbers)}.next()), ...);
    return SplitMix64{seed}.next();
}

}  // namespace flashback::inline FLASHBACK_ISA

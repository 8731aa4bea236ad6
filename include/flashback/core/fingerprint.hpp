/// \file A number that tells models apart.
#pragma once

#include "flashback/core/config.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// Bytes that are hashed part by part. Fingerprint::add gives for them what it gives for all of them at once.
class FingerprintParts {
public:
    /// Every part but the last has a multiple of so many bytes.
    static constexpr std::size_t multiple = 32;

    /// Adds the bytes that follow.
    /// Requires  the parts before have a multiple of `multiple` bytes
    void add(std::span<const std::byte> bytes) noexcept {
        std::array<std::uint64_t, 4> lanes = lanes_;
        std::size_t at = 0;
        for (; at + multiple <= bytes.size(); at += multiple) {
            for (std::size_t i = 0; i < lanes.size(); ++i) absorb(lanes[i], word(bytes.data() + at + 8 * i, 8));
        }
        for (std::size_t i = 0; at < bytes.size(); at += 8, ++i) {
            absorb(lanes[i], word(bytes.data() + at, bytes.size() - at < 8 ? bytes.size() - at : 8));
        }
        lanes_ = lanes;
        size_ += bytes.size();
    }

private:
    friend class Fingerprint;

    static std::uint64_t word(const std::byte* bytes, std::size_t count) noexcept {
        std::uint64_t value = 0;
        if constexpr (std::endian::native == std::endian::little) {
            if (count == 8) {
                std::memcpy(&value, bytes, 8);
                return value;
            }
        }
        for (std::size_t i = 0; i < count; ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
        return value;
    }
    static void absorb(std::uint64_t& lane, std::uint64_t value) noexcept {
        lane = (std::rotl(lane, 31) ^ value) * 0x9e3779b97f4a7c15u;
    }

    std::array<std::uint64_t, 4> lanes_{1, 2, 3, 4};  // independent chains; a single one would wait for each product
    std::size_t size_ = 0;
};

/// A hash of what a model is made of, so that the cache or the adapter of one model is not taken for that of another. It finds
/// accidents, not forgeries. It is the same on every machine and in every version of a file format.
/// Cost      about the time to read the bytes
class Fingerprint {
public:
    /// The hash of all of these, in this order: numbers, bytes, texts.
    template <class... Parts>
    static std::uint64_t of(const Parts&... parts) noexcept {
        Fingerprint all;
        (all.add(parts), ...);
        return all.value();
    }

    /// Adds a number.
    void add(std::uint64_t value) noexcept { mix(value); }

    /// Adds bytes and how many they are, so that "ab", "c" differs from "a", "bc".
    void add(std::span<const std::byte> bytes) noexcept {
        FingerprintParts all;
        all.add(bytes);
        add(all);
    }
    /// The same for bytes that came in parts.
    void add(const FingerprintParts& parts) noexcept {
        mix(parts.size_);
        for (const std::uint64_t lane : parts.lanes_) mix(lane);
    }

    /// Adds the bytes of a text.
    void add(std::string_view text) noexcept { add(std::as_bytes(std::span{text.data(), text.size()})); }

    /// The hash of everything that was added, in that order.
    std::uint64_t value() const noexcept { return state_; }

private:
    void mix(std::uint64_t value) noexcept {
        std::uint64_t z = (state_ ^ value) + 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        state_ = z ^ (z >> 31);
    }

    std::uint64_t state_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

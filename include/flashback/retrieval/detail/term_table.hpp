/// \file Numbers for terms, in the order in which they come.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A hash table with open addressing, whose terms lie in large pieces of memory: building an index looks up every word of the text.
class TermTable {
public:
    TermTable() : slots_(1024) {}

    std::size_t size() const noexcept { return words_.size(); }
    std::string_view operator[](std::size_t i) const noexcept { return words_[i]; }

    /// The number of a term, which is new if it is size() before the call.
    std::uint32_t add(std::string_view word) {
        const std::uint64_t hash = hash_of(word);
        const auto tag = static_cast<std::uint32_t>(hash >> 32);
        std::size_t at = hash & (slots_.size() - 1);
        for (; slots_[at].number != none; at = (at + 1) & (slots_.size() - 1)) {
            if (slots_[at].tag == tag && words_[slots_[at].number] == word) return slots_[at].number;
        }
        const auto number = static_cast<std::uint32_t>(words_.size());
        words_.push_back(keep(word));
        slots_[at] = {tag, number};
        if (words_.size() * 2 > slots_.size()) grow();
        return number;
    }

private:
    static constexpr std::uint32_t none = UINT32_MAX;
    struct Slot {
        std::uint32_t tag = 0, number = none;
    };

    static std::uint64_t hash_of(std::string_view word) noexcept {
        constexpr std::uint64_t factor = 0x9e3779b97f4a7c15u;
        std::uint64_t hash = word.size() * factor;
        while (!word.empty()) {
            std::uint64_t piece = 0;
            const std::size_t some = std::min<std::size_t>(word.size(), 8);
            std::memcpy(&piece, word.data(), some);
            hash = (std::rotl(hash, 29) ^ piece) * factor;
            word.remove_prefix(some);
        }
        hash ^= hash >> 32;
        return hash * factor ^ hash >> 29;
    }
    std::string_view keep(std::string_view word) {
        if (word.size() > left_) {
            left_ = std::max(piece, word.size());
            pieces_.push_back(std::make_unique_for_overwrite<char[]>(left_));
            free_ = pieces_.back().get();
        }
        std::ranges::copy(word, free_);
        const std::string_view kept{free_, word.size()};
        free_ += word.size();
        left_ -= word.size();
        return kept;
    }
    void grow() {
        std::vector<Slot> slots(slots_.size() * 2);
        for (std::uint32_t number = 0; number < words_.size(); ++number) {
            const std::uint64_t hash = hash_of(words_[number]);
            std::size_t at = hash & (slots.size() - 1);
            while (slots[at].number != none) at = (at + 1) & (slots.size() - 1);
            slots[at] = {static_cast<std::uint32_t>(hash >> 32), number};
        }
        slots_ = std::move(slots);
    }

    static constexpr std::size_t piece = std::size_t{1} << 16;
    std::vector<Slot> slots_;
    std::vector<std::string_view> words_;
    std::vector<std::unique_ptr<char[]>> pieces_;
    char* free_ = nullptr;
    std::size_t left_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

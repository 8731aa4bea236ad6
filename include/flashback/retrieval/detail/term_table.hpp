/// \file Numbers for terms, in the order in which they come.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A hash table with open addressing, whose slots hold the first bytes of a term: building an index looks up every word of the text, and
/// each place in memory that it has to look at for that is a wait.
class TermTable {
public:
    TermTable() : slots_(1024) {}

    std::size_t size() const noexcept { return words_.size(); }
    std::string_view operator[](std::size_t i) const noexcept { return words_[i]; }

    /// The number of a term, which is new if it is size() before the call.
    std::uint32_t add(std::string_view word) {
        const Head head = head_of(word);
        std::size_t at = hash_of(head, word) & (slots_.size() - 1);
        for (; slots_[at].number != none; at = (at + 1) & (slots_.size() - 1)) {
            const Slot& slot = slots_[at];
            if (slot.head == head && slot.bytes == word.size() && (word.size() <= sizeof(Head) || words_[slot.number] == word))
                return slot.number;
        }
        const auto number = static_cast<std::uint32_t>(words_.size());
        words_.push_back(keep(word));
        slots_[at] = {head, static_cast<std::uint32_t>(word.size()), number};
        if (words_.size() * 2 > slots_.size()) grow();
        return number;
    }

private:
    static constexpr std::uint32_t none = UINT32_MAX;
    using Head = std::array<std::uint64_t, 2>;  // the first 16 bytes of a term, filled up with zeros
    struct Slot {
        Head head{};
        std::uint32_t bytes = 0;
        std::uint32_t number = none;
    };

    static Head head_of(std::string_view word) noexcept {
        Head head{};
        std::memcpy(head.data(), word.data(), std::min(word.size(), sizeof(Head)));
        return head;
    }
    static std::size_t hash_of(const Head& head, std::string_view word) noexcept {
        constexpr std::uint64_t factor = 0x9e3779b97f4a7c15u;
        std::uint64_t hash = (std::rotl((head[0] + word.size()) * factor, 29) ^ head[1]) * factor;
        for (std::size_t at = sizeof(Head); at < word.size(); at += 8) {
            std::uint64_t piece_of_it = 0;
            std::memcpy(&piece_of_it, word.data() + at, std::min<std::size_t>(word.size() - at, 8));
            hash = (std::rotl(hash, 29) ^ piece_of_it) * factor;
        }
        return static_cast<std::size_t>((hash ^ hash >> 32) * factor >> 16);
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
        for (const Slot& slot : slots_) {
            if (slot.number == none) continue;
            std::size_t at = hash_of(slot.head, words_[slot.number]) & (slots.size() - 1);
            while (slots[at].number != none) at = (at + 1) & (slots.size() - 1);
            slots[at] = slot;
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

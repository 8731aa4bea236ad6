/// \file A bounded map that forgets what was used longest ago.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <iterator>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Values by their keys, within a number of entries and of bytes; the one that was used longest ago goes first.
template <class Value>
class RecentlyUsed {
public:
    struct Entry {
        std::string key;
        Value value;
        std::size_t bytes;
    };

    RecentlyUsed(std::size_t most_entries, std::size_t most_bytes) : most_entries_(most_entries), most_bytes_(most_bytes) {}
    RecentlyUsed(RecentlyUsed&&) noexcept = default;  // not copied: places_ refers to entries_
    RecentlyUsed& operator=(RecentlyUsed&&) noexcept = default;

    std::size_t size() const noexcept { return places_.size(); }
    std::size_t bytes() const noexcept { return bytes_; }

    /// The most recently used first.
    auto begin() const noexcept { return entries_.begin(); }
    auto end() const noexcept { return entries_.end(); }

    bool contains(std::string_view key) const { return places_.contains(key); }

    /// The value of a key, which is the most recently used now; null if there is none.
    const Value* find(std::string_view key) {
        const auto place = places_.find(key);
        if (place == places_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, place->second);
        return &entries_.front().value;
    }

    /// Keeps a value as the most recently used one, in place of that of the same key. One of more bytes than all may have is not kept.
    void keep(std::string key, Value value, std::size_t bytes) {
        if (const auto place = places_.find(key); place != places_.end()) erase(place->second);
        if (bytes > most_bytes_ || most_entries_ == 0) return;
        std::list<Entry> fresh;
        fresh.push_back({std::move(key), std::move(value), bytes});
        places_.emplace(fresh.front().key, fresh.begin());
        entries_.splice(entries_.begin(), fresh);  // the place stays valid
        bytes_ += bytes;
        while (size() > most_entries_ || bytes_ > most_bytes_) erase(std::prev(entries_.end()));
    }

    void clear() noexcept {
        places_.clear();
        entries_.clear();
        bytes_ = 0;
    }

private:
    void erase(typename std::list<Entry>::iterator entry) {
        bytes_ -= entry->bytes;
        places_.erase(entry->key);
        entries_.erase(entry);
    }

    std::size_t most_entries_;
    std::size_t most_bytes_;
    std::size_t bytes_ = 0;
    std::list<Entry> entries_;
    std::unordered_map<std::string_view, typename std::list<Entry>::iterator> places_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file Which documents of a segment are gone.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

class IndexSegment;

/// A set of documents.
class Deletions {
public:
    bool any() const noexcept { return count_ > 0; }
    std::size_t count() const noexcept { return count_; }
    bool has(std::size_t document) const noexcept {
        return document / 64 < bits_.size() && (bits_[document / 64] >> document % 64 & 1) != 0;
    }
    void add(std::size_t document) {
        if (has(document)) return;
        if (bits_.size() <= document / 64) bits_.resize(document / 64 + 1, 0);
        bits_[document / 64] |= std::uint64_t{1} << document % 64;
        ++count_;
    }

private:
    std::vector<std::uint64_t> bits_;
    std::size_t count_ = 0;
};

/// A segment, and which of its documents are gone.
struct LiveSegment {
    const IndexSegment* segment;
    const Deletions* deletions;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

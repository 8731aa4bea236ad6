/// \file A stride that grows while nothing new is found.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Retrieves before the first token, and then every `stride` tokens; but while the passage that is found first is the one of the
/// retrieval before, the stride doubles, up to `most`, and when it is another one the stride is what it was at the start. A passage
/// is known by a hash of its id, or of its tokens if it has none; nothing found twice counts as the same.
/// Source    ours, after binary exponential backoff
class Backoff {
public:
    /// Throws    Error{contract} if the stride is 0, or more than `most`
    explicit Backoff(std::size_t stride = 16, std::size_t most = 256) : first_(stride), most_(most) {
        FLASHBACK_ASSERT(stride > 0, "Backoff needs a stride of at least 1 token, found 0");
        FLASHBACK_ASSERT(stride <= most, "Backoff has a stride of ", stride, " tokens, expected at most its longest, ", most);
    }

    /// The tokens from the last retrieval to the next, as of the last call.
    std::size_t stride() const noexcept { return found_.empty() ? first_ : found_.back().stride; }

    bool operator()(const StepView& step) {
        // What was retrieved for tokens that were taken back since is forgotten; one token is new.
        while (!found_.empty() && found_.back().at >= step.generated()) found_.pop_back();
        if (step.retrievals > seen_) learn(step);
        return step.retrievals == 0 || step.since_retrieval >= stride();
    }
    void reset() {
        found_.clear();
        found_.reserve(64);
        seen_ = 0;
    }

private:
    struct Found {
        std::size_t at;  // tokens generated before that retrieval
        std::size_t stride;
        std::uint64_t top;
    };

    void learn(const StepView& step) {
        seen_ = step.retrievals;
        const std::uint64_t top = identity(step.passages);
        const bool same = !found_.empty() && found_.back().top == top;
        found_.push_back({step.generated() - std::min(step.since_retrieval, step.generated()),
                          same ? std::min(most_, stride() > most_ / 2 ? most_ : 2 * stride()) : first_, top});
    }

    static std::uint64_t identity(std::span<const Passage> passages) {
        Fingerprint hash;
        if (passages.empty()) return hash.value();
        const Passage& top = passages.front();
        hash.add(top.id.empty() ? 2 : 1);
        top.id.empty() ? hash.add(std::as_bytes(top.tokens)) : hash.add(top.id);
        return hash.value();
    }

    std::size_t first_;
    std::size_t most_;
    std::size_t seen_ = 0;  // retrievals that were looked at
    std::vector<Found> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA

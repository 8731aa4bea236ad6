/// \file When to retrieve.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/step_view.hpp"

#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Decides when to retrieve: `schedule(step)` is asked before every token, the first included, and gives a Decision, or a
/// bool where true means to retrieve. An optional `reset()` is called at the start of each generation.
template <class S>
concept RetrievalSchedule = requires(S& schedule, const StepView& step) {
    { schedule(step) } -> std::convertible_to<Decision>;
};

namespace detail {

/// Refuses, in words, what is no RetrievalSchedule.
template <class S>
constexpr bool checked_schedule() {
    static_assert(RetrievalSchedule<S>,
                  "flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision");
    return true;
}

}  // namespace detail

/// Never retrieves: the closed book.
struct Never {
    constexpr bool operator()(const StepView& /*step*/) const noexcept { return false; }
};

/// Retrieves once, before the first token.
struct Once {
    constexpr bool operator()(const StepView& step) const noexcept { return step.retrievals == 0; }
};

/// Retrieves before the first token, and again whenever `stride` tokens were generated since the last retrieval.
/// Source    Ram et al. 2023, In-Context RALM, section 3.2 (retrieval stride s); FlashBack uses s = 16
class EveryNTokens {
public:
    /// Throws    Error{contract} if the stride is 0
    constexpr explicit EveryNTokens(std::size_t stride = 16) : stride_(stride) {
        FLASHBACK_ASSERT(stride > 0, "EveryNTokens needs a stride of at least 1 token, found 0");
    }

    constexpr std::size_t stride() const noexcept { return stride_; }

    constexpr bool operator()(const StepView& step) const noexcept {
        return step.retrievals == 0 || step.since_retrieval >= stride_;
    }

private:
    std::size_t stride_;
};

}  // namespace flashback::inline FLASHBACK_ISA

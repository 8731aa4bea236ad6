/// \file Why a generation ended.
#pragma once

#include "flashback/core/config.hpp"

#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// Why a generation ended; all but the last are expected endings.
enum class StopReason {
    max_tokens,   ///< as many tokens as were asked for
    eos,          ///< the model ended its text
    stop_string,  ///< the stopping criterion said so: it found a stop string, say
    schedule,     ///< the schedule said so
    window_full,  ///< the next tokens do not fit into the model's window, and nothing may be dropped
    max_rewinds,  ///< the schedule took tokens back, or put off the end, once more than was allowed
    cancelled,    ///< the callback said false, or a stop was requested
    failed,       ///< something went wrong, and an ErrorHandler was told instead of a throw
};

/// The name of a reason, e.g. "max_tokens".
constexpr std::string_view to_string(StopReason reason) noexcept {
    switch (reason) {
        case StopReason::max_tokens: return "max_tokens";
        case StopReason::eos: return "eos";
        case StopReason::stop_string: return "stop_string";
        case StopReason::schedule: return "schedule";
        case StopReason::window_full: return "window_full";
        case StopReason::max_rewinds: return "max_rewinds";
        case StopReason::cancelled: return "cancelled";
        case StopReason::failed: return "failed";
    }
    return "unknown";
}

}  // namespace flashback::inline FLASHBACK_ISA

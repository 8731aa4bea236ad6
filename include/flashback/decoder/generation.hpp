/// \file What a generation gives: tokens, why it stopped, what was retrieved, and what it cost.
#pragma once

#include "flashback/core/tokens.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Why a generation ended; all of these are expected endings.
enum class StopReason {
    max_tokens,   ///< as many tokens as were asked for
    eos,          ///< the model ended its text
    stop_string,  ///< the stopping criterion said so: it found a stop string, say
    schedule,     ///< the schedule said so
    window_full,  ///< the next tokens do not fit into the model's window, and nothing may be dropped
    max_rewinds,  ///< the schedule took tokens back once more than was allowed
    cancelled,    ///< the callback said false, or a stop was requested
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
    }
    return "unknown";
}

/// Tokens by what became of them. Machine-free: `evaluated + reused == requested`, always. Of a plan that was cancelled
/// between two pieces, what was done counts.
struct TokenCounts {
    std::size_t requested = 0;  ///< wanted length at each plan, and 1 for each single-token step
    std::size_t evaluated = 0;  ///< what the model had to evaluate
    std::size_t reused = 0;     ///< what the KV cache held already, at each plan
    std::size_t discarded = 0;  ///< what the KV cache held and no longer holds, at each plan

    constexpr TokenCounts& operator+=(const TokenCounts& other) noexcept {
        requested += other.requested;
        evaluated += other.evaluated;
        reused += other.reused;
        discarded += other.discarded;
        return *this;
    }
    constexpr bool operator==(const TokenCounts&) const = default;
};

/// Wall-clock seconds by what they were spent on.
struct Seconds {
    double retrieve = 0;  ///< in the retriever
    double prefill = 0;   ///< evaluating plans
    double decode = 0;    ///< evaluating single tokens
    double total = 0;     ///< from the first line of `generate` to the last
};

/// A passage as it was found; a copy, so that it outlives the retriever.
struct RetrievedPassage {
    std::string id;
    std::string title;
    std::string text;
    float score = 0;
    std::size_t tokens = 0;  ///< length in tokens, without markers
};

/// One retrieval: when, what was asked, what was found, and what the plan after it cost.
struct Retrieval {
    std::size_t at = 0;                      ///< number of generated tokens before it, without those it took back
    std::size_t rewound = 0;                 ///< generated tokens that were taken back for it
    std::vector<TokenId> query_tokens;       ///< the query, if the query builder gave tokens
    std::string query_text;                  ///< the query, if the query builder gave text
    std::vector<RetrievedPassage> passages;  ///< the best first; empty if nothing was found
    TokenCounts counts;                      ///< of this plan
    double seconds = 0;                      ///< in the retriever and evaluating this plan
};

/// Counts and times in all.
struct Statistics {
    std::size_t retrievals = 0;
    std::size_t rewinds = 0;  ///< retrievals that took tokens back
    std::size_t rewound = 0;  ///< tokens that they took back
    std::size_t dropped = 0;  ///< tokens of the text that the model no longer sees because the window was full
    TokenCounts counts;
    Seconds seconds;
};

/// The result of `Decoder::generate`.
struct Generation {
    std::vector<TokenId> tokens;  ///< the new ones only
    StopReason stop = StopReason::max_tokens;
    Statistics stats;
    std::vector<Retrieval> retrievals;
};

}  // namespace flashback::inline FLASHBACK_ISA

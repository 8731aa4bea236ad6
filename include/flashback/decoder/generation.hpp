/// \file What a generation gives: tokens, why it stopped, what was retrieved, and what it cost.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Tokens by what became of them, on any machine: `evaluated + reused == requested`, always. If a plan was cancelled between
/// two pieces, what was done counts.
struct TokenCounts {
    std::size_t requested = 0;  ///< at each plan, what the model should hold and see; 1 for each single-token step
    std::size_t evaluated = 0;  ///< what the model had to evaluate
    std::size_t reused = 0;     ///< what the KV cache, or a store of passages, held already, at each plan
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

/// Wall-clock seconds by what they were spent on: from the moment at which a generator needed it until it was there.
struct Seconds {
    double retrieve = 0;  ///< in the retriever
    double prefill = 0;   ///< evaluating plans
    double decode = 0;    ///< evaluating single tokens
    double total = 0;     ///< from the first line of `generate` to the last

    constexpr Seconds& operator+=(const Seconds& other) noexcept {
        retrieve += other.retrieve;
        prefill += other.prefill;
        decode += other.decode;
        total += other.total;
        return *this;
    }
};

/// A passage as it was found; a copy, so that it outlives the retriever.
struct RetrievedPassage {
    std::string id;          ///< as the retriever names it
    std::string title;       ///< of its document; may be empty
    std::string text;        ///< what it says; empty if the retriever gave tokens alone
    float score = 0;         ///< as the retriever gave it
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

/// What guesses came to (SpeculativeDecoder). A guess that was made after a wrong one is neither right nor rolled back to: it went
/// with the text that it was made for.
struct Speculation {
    std::size_t speculated = 0;   ///< retrievals that were answered with a guess
    std::size_t matched = 0;      ///< guesses that the search confirmed
    std::size_t rolled_back = 0;  ///< wrong guesses to which the text went back
    std::size_t discarded =
        0;  ///< tokens that were evaluated after wrong guesses, in vain unless the text was the same; or after
            ///< what was handed out, if the text ended there

    constexpr bool operator==(const Speculation&) const = default;
};

/// Counts and times in all. `counts` has all that the model was asked for, what came of wrong guesses included, so that
/// `evaluated + reused == requested` there, too; the other numbers are those of the text that stands.
struct Statistics {
    std::size_t retrievals = 0;  ///< how often passages were searched for
    std::size_t rewinds = 0;     ///< retrievals that took tokens back
    std::size_t rewound = 0;     ///< tokens that they took back
    std::size_t dropped = 0;     ///< tokens of the text that the model no longer sees because the window was full
    std::size_t shortened = 0;   ///< tokens of passages that it no longer sees because of that
    TokenCounts counts;          ///< what the model was asked for, in tokens
    std::vector<TokenCounts> branches =
        {};  ///< of `counts`, what each branch took, if passages were fused: the rest is what they share
    std::size_t model_work =
        0;  ///< tokens that the model evaluated without being asked to, by its `work()`; what its branches did is not known
    std::size_t retriever_work = 0;  ///< tokens that models of the retriever evaluated, by its `work()`
    Seconds seconds;                 ///< where the time went
    Speculation speculation = {};    ///< nothing, if nothing was guessed
};

/// The result of `Decoder::generate`.
struct Generation {
    std::vector<TokenId> tokens;               ///< the new ones only
    StopReason stop = StopReason::max_tokens;  ///< why the text ended
    Statistics stats;                          ///< counts and times
    std::vector<Retrieval> retrievals;         ///< one for each retrieval, in order
    std::vector<double> surprisals = {};  ///< of each token, in nats, if a policy or the options asked for them; else empty
};

}  // namespace flashback::inline FLASHBACK_ISA

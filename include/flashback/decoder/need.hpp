/// \file What a generator needs next, and what it has to know of a model.
#pragma once

#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// What a generator needs next. Its views are valid until the generator is given an answer.
///
/// | kind       | what is to be done                                              | the answer                    |
/// |------------|-----------------------------------------------------------------|-------------------------------|
/// | `search`   | search for `query`, at most `passages` of them                  | `found(passages)`             |
/// | `prefetch` | nothing, or begin that search: it will be needed soon           | `resume()`                    |
/// | `rewind`   | if the text is shown, take back its newest `length` tokens      | `resume()`                    |
/// | `evict`    | forget `length` positions from `first` on, and move the rest (RotatingModel) | `evicted(size)`   |
/// | `truncate` | cut the model to `length` positions                             | `truncated(size)`             |
/// | `evaluate` | evaluate `tokens` after what the model holds; or, if `each` is not empty, `each[i]` in branch i, and the model holds what it held: a row of logits for each | `evaluated(logits, size)`     |
/// | `branch`   | make these `branches` of the model, in place of those that stand (Branches::open, where `length` is the head's); without any, end them | `branched(evaluated)`         |
/// | `see`      | let the model see the passages `beside`, each of which sees the first `length` positions (see_passages) | `seen(evaluated)` |
/// | `token`    | nothing, or show `token`, the newest of the text                | `resume()` or `cancel()`      |
/// | `done`     | nothing: the generation ended for the reason `stop`             | `take()`, or the next `start` |
struct Need {
    /// What is needed: the first column of the table above.
    enum class Kind : unsigned char { search, prefetch, rewind, evict, truncate, evaluate, see, branch, token, done };

    Kind kind = Kind::done;  ///< what is needed
    Query query = {};
    std::size_t passages = 0;
    std::size_t length = 0;
    std::size_t first = 0;
    TokenSpan tokens = {};
    std::span<const TokenSpan> each = {};
    std::span<const TokenSpan> beside = {};
    std::span<const BranchPlan> branches = {};
    TokenId token = 0;
    StopReason stop = StopReason::cancelled;
};

/// The name of a kind, e.g. "search".
constexpr std::string_view to_string(Need::Kind kind) noexcept {
    switch (kind) {
        case Need::Kind::search: return "search";
        case Need::Kind::prefetch: return "prefetch";
        case Need::Kind::rewind: return "rewind";
        case Need::Kind::evict: return "evict";
        case Need::Kind::truncate: return "truncate";
        case Need::Kind::evaluate: return "evaluate";
        case Need::Kind::see: return "see";
        case Need::Kind::branch: return "branch";
        case Need::Kind::token: return "token";
        case Need::Kind::done: return "done";
    }
    return "unknown";
}

/// What a generator has to know of the model that it is driven over.
struct ModelFacts {
    std::size_t vocab_size = 0;                                    ///< number of logits
    std::size_t window = std::numeric_limits<std::size_t>::max();  ///< the most positions that it can hold
    TokenSpan head = {};                                           ///< tokens in front of every text: BOS
    FunctionRef<bool(TokenId)> is_end = {};                        ///< whether a token ends a text; without it none does
    bool holds_blocks = false;                                     ///< whether it is a BlockModel: it can be let `see`
    bool branches = false;  ///< whether it can be forked: it can be let `branch`, for fusions of several groups of passages
    bool rotates = false;   ///< whether it can be let `evict` (RotatingModel)
};

}  // namespace flashback::inline FLASHBACK_ISA

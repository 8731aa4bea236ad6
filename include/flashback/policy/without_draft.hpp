/// \file A query that knows nothing of what is taken back.
#pragma once

#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Asks another query builder as if the text had ended in front of the draft. If a model is led along a text that is known, a
/// draft is the text itself, and a query of it would know what is to be predicted.
template <class Inner>
class WithoutDraft {
    static_assert(detail::checked_query<members::Unwrapped<Inner>>());

public:
    /// Asks `inner` about the text without its draft.
    explicit WithoutDraft(Inner inner) : inner_(std::move(inner)) {}

    auto operator()(const StepView& step) {
        if (step.rewind == 0) return members::unwrap(inner_)(step);
        StepView seen = step;
        seen.context = step.kept();
        seen.rewind = 0;
        seen.since_retrieval = step.since_retrieval - std::min(step.since_retrieval, step.rewind);
        if (!step.surprisals.empty()) seen.surprisals = step.surprisals.first(seen.generated());
        seen.logits = {};  // those of the draft
        seen.attention = nullptr;
        return members::unwrap(inner_)(seen);
    }
    void pass_on(detail::News& news, std::type_identity<WithoutDraft> /*own*/) { news.tell(inner_); }
    bool wants_surprisals() const { return detail::wants_surprisals(inner_); }
    bool wants_attention() const { return detail::wants_attention(inner_); }
    bool looks_at_evaluated() const { return detail::looks_at_evaluated(inner_); }

private:
    Inner inner_;
};

}  // namespace flashback::inline FLASHBACK_ISA

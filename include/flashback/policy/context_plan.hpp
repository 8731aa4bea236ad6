/// \file The one idea: from what a KV cache holds and what it should hold follows what to keep and what to feed.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/wrapper.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a model should read: the tokens in front of everything, the passages as they were found, and the text.
struct ContextParts {
    TokenSpan head;                     ///< BOS, system text
    std::span<const Passage> passages;  ///< the best first; not yet wrapped
    TokenSpan context;                  ///< the prompt and what was generated
    /// What was laid out last for this text, and the text since; by default what is held. So a layout can leave passages in
    /// place.
    std::optional<TokenSpan> standing = {};
    /// How many of the tokens that are held saw no passages beside the text: 0 at the start, then what ContextPlan::plain_after gives. A
    /// layout that puts passages there needs it if anything is held.
    std::optional<std::size_t> held_plain = {};
    /// How many of the newest tokens held were written since the last plan was carried out: behind all that it laid out. Only these can be
    /// moved, if the reuse policy moves text.
    std::size_t written = 0;
};

/// Room for plans; reuse it and planning allocates nothing. A plan views it and is valid until its next use.
class PlanScratch {
public:
    PlanScratch() = default;
    PlanScratch(PlanScratch&&) noexcept = default;
    PlanScratch& operator=(PlanScratch&&) noexcept = default;
    ~PlanScratch() = default;
    /// A copy views tokens of its own.
    PlanScratch(const PlanScratch& other) : wrapped(other.wrapped), passages(other.passages), wanted(other.wanted) {
        view_wrapped();
    }
    PlanScratch& operator=(const PlanScratch& other) {
        if (this != &other) *this = PlanScratch{other};
        return *this;
    }

    TokenBuffer wrapped;              ///< all passages, wrapped
    std::vector<TokenSpan> passages;  ///< each of them
    TokenBuffer wanted;               ///< what the model should hold

    /// Lets `passages`, whose lengths are right, view `wrapped`, which may have moved.
    void view_wrapped() noexcept {
        std::size_t begin = 0;
        for (TokenSpan& passage : passages) {
            passage = TokenSpan{wrapped}.subspan(begin, passage.size());
            begin += passage.size();
        }
    }
};

/// How to bring a model from what it holds to what it should hold: `truncate(keep)`, then `evaluate(feed)`. If it `moves()`, first of all
/// `evict(leaves_at, leaves)`: what stands behind moves up. For passages beside the
/// text, if it `sees`: `evaluate` the first `plain - keep` tokens of `feed`, if there are any, let the model see `beside`
/// (see_passages), and evaluate the rest. carry_out does that.
struct ContextPlan {
    std::size_t keep = 0;                    ///< positions to keep
    TokenSpan feed;                          ///< tokens to evaluate after them; never empty, unless an error was handled
    TokenSpan wanted;                        ///< everything that the model then holds: `keep` tokens and `feed`
    std::size_t plain = 0;                   ///< how many of `wanted` see none of the passages beside the text
    std::span<const TokenSpan> beside = {};  ///< those passages, wrapped, the best first
    bool sees = false;          ///< whether there are such passages, or what is kept saw others and the rest sees none
    std::size_t leaves_at = 0;  ///< where what leaves the middle begins
    std::size_t leaves = 0;     ///< how many positions leave there, because text behind them stays

    /// Whether text moves.
    bool moves() const noexcept { return leaves > 0; }

    /// What ContextParts::held_plain is at the next plan, if it was `held_plain` at this one, and this one was carried out.
    std::size_t plain_after(std::size_t held_plain) const noexcept {
        if (keep > held_plain) return held_plain;
        return sees ? plain : std::numeric_limits<std::size_t>::max();  // all that is evaluated until then, too
    }
};

namespace detail {

/// What a plan needs of its policies.
template <class P>
concept PlansContexts = requires(const P& policies) {
    requires MarkerWrapper<std::remove_reference_t<decltype(policies.wrapper())>>;
    requires ContextLayout<std::remove_reference_t<decltype(policies.layout())>>;
    requires KVReuse<std::remove_reference_t<decltype(policies.reuse())>>;
};

/// Writes each passage with what marks it to `scratch.wrapped`, and views of them to `scratch.passages`.
template <class W>
void wrap_all(const W& wrapper, std::span<const Passage> passages, PlanScratch& scratch) {
    scratch.wrapped.clear();
    scratch.passages.clear();
    for (std::size_t i = 0; i < passages.size(); ++i) {
        const std::size_t begin = scratch.wrapped.size();
        wrap(wrapper, passages[i], i, scratch.wrapped);
        scratch.passages.push_back(TokenSpan{scratch.wrapped}.subspan(begin));
    }
    scratch.view_wrapped();
}

/// What a reuse policy keeps; nothing if that was refused and the error handled.
template <class R>
std::optional<std::size_t> checked_keep(const R& reuse, TokenSpan held, TokenSpan wanted, ErrorHandler on_error) {
    const auto keep = static_cast<std::size_t>(reuse(held, wanted));
    if constexpr (!std::same_as<R, KeepCommonPrefix>) {
        const std::size_t valid = common_prefix(held, wanted);
        if (keep > valid) {
            report(on_error, ErrorCode::contract, "the reuse policy keeps ", keep, " positions, but only the common prefix of ",
                   valid, " is valid");
            return {};
        }
    }
    return keep;
}

/// What is kept of positions held if some leave the middle.
struct KeptAround {
    std::size_t keep;  ///< how many are kept in all
    std::size_t leaves_at = 0;
    std::size_t leaves = 0;
};

/// Of a prefix that is kept, looks for the tokens that were written since the last plan, the newest `written` that are held, where the text
/// goes on in what is wanted: behind all that stood in front of them, so not before position `least`.
inline KeptAround keep_around(TokenSpan held, TokenSpan wanted, std::size_t prefix, std::size_t written, std::size_t least) {
    const std::size_t begin = held.size() - std::min(written, held.size());
    KeptAround best{prefix};
    // Passages may begin as the text goes on. Of places where as much stays, the last keeps most that is exact.
    for (std::size_t at = std::min(prefix + 1, begin); at-- > least;) {
        const std::size_t keep = at + common_prefix(held.subspan(begin), wanted.subspan(at));
        if (keep > best.keep) best = {keep, at, begin - at};
    }
    return best;
}

}  // namespace detail

/// Plans a context. This is exact for every layout, wrapper and schedule, unless AsideOptions::exact is false or text moves: keys and values at
/// position i depend only on the tokens 0..i, and at most the common prefix of `held` and `wanted` is kept. With passages beside the text
/// they depend on the passages that a token saw, too; so what saw some is evaluated again.
///
/// If all wanted tokens are held already, the last of them is fed again: without it there are no logits.
///
/// Requires  `policies` has `wrapper()`, `layout()` and `reuse()`, as Policies has
/// Throws    Error{contract} if all parts are empty, if the reuse policy keeps more than the common prefix, or if a layout puts
///           passages beside the text and `held_plain` is not given; if `on_error` is given, it is called instead, and the plan is
///           empty
/// Cost      one copy of the wanted tokens and one comparison of the common prefix; if text moves, also one of what was written at each
///           place where it may go on; no allocation in a warm scratch
/// Source    FlashBack (arXiv 2405.04065), section 3.2, for the append layout; the formulation is ours
template <class P>
ContextPlan plan_context(const P& policies, TokenSpan held, const ContextParts& parts, PlanScratch& scratch,
                         ErrorHandler on_error = {}) {
    static_assert(detail::PlansContexts<P>,
                  "flashback: plan_context takes wrapper(), layout() and reuse() of its policies, as Policies has them");
    detail::wrap_all(policies.wrapper(), parts.passages, scratch);
    scratch.wanted.clear();
    policies.layout()(LayoutParts{parts.head, scratch.passages, parts.context, held, parts.standing.value_or(held)},
                      scratch.wanted);
    const TokenSpan wanted = scratch.wanted;
    if (wanted.empty()) {
        report(on_error, ErrorCode::contract, "a context needs at least 1 token, but head, passages and context are all empty");
        return {};
    }
    const AsideOptions aside = beside_of(policies.layout());
    if (aside.seeing > 0 && !held.empty() && !parts.held_plain) {
        report(on_error, ErrorCode::contract,
               "a layout of passages beside the text needs ContextParts::held_plain: how many of the ", held.size(),
               " tokens held saw none");
        return {};
    }
    const std::size_t seeing = parts.passages.empty() ? 0 : std::min(aside.seeing, parts.context.size());
    const std::size_t plain = wanted.size() - std::min(seeing, wanted.size());
    const std::optional<std::size_t> keep = detail::checked_keep(policies.reuse(), held, wanted, on_error);
    if (!keep) return {};
    // What is to see passages is evaluated again, and so is what saw others, unless it may keep what it saw.
    const std::size_t held_plain = parts.held_plain.value_or(held.size());
    detail::KeptAround around{*keep};
    if (moves_text_of(policies.reuse()) && aside.seeing == 0 && held_plain >= held.size()) {
        // The newest token of the text may not be held yet.
        const std::size_t rest = std::min(parts.written + 1, parts.context.size());
        around = detail::keep_around(held, wanted, *keep, parts.written, parts.head.size() + parts.context.size() - rest);
    }
    const std::size_t kept = std::min({around.keep, wanted.size() - 1, plain, aside.exact ? held_plain : around.keep});
    ContextPlan plan{kept, wanted.subspan(kept), wanted, plain};
    plan.leaves_at = around.leaves_at;
    plan.leaves = around.leaves;
    if (seeing > 0) {
        if (aside.joined) scratch.passages.assign(1, scratch.wrapped);
        plan.beside = scratch.passages;
        plan.sees = true;
    } else if (kept > held_plain) {
        plan.plain = kept;
        plan.sees = true;
    }
    return plan;
}

}  // namespace flashback::inline FLASHBACK_ISA

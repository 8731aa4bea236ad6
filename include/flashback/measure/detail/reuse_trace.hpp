/// \file How a trace is recorded.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/measure/reuse_trace.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Appends a run; what continues the last one joins it.
inline void add_span(std::vector<TraceSpan>& spans, TraceSpan span) {
    if (span.count == 0) return;
    if (!spans.empty() && spans.back().kind == span.kind && spans.back().begin + spans.back().count == span.begin) {
        spans.back().count += span.count;
    } else {
        spans.push_back(span);
    }
}

inline bool begins_with(TokenSpan tokens, TokenSpan front) {
    return front.size() <= tokens.size() && std::ranges::equal(tokens.first(front.size()), front);
}

/// What is counted from one moment to a later one.
inline TokenCounts difference(const TokenCounts& later, const TokenCounts& earlier) {
    return {later.requested - earlier.requested, later.evaluated - earlier.evaluated, later.reused - earlier.reused,
            later.discarded - earlier.discarded};
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE std::string_view to_string(TraceKind kind) noexcept {
    switch (kind) {
        case TraceKind::head: return "head";
        case TraceKind::text: return "text";
        case TraceKind::passage: return "passage";
        case TraceKind::marker: return "marker";
        case TraceKind::other: return "other";
    }
    return "unknown";
}

FLASHBACK_DETAIL_ONCE bool ReuseTrace::operator()(TokenId token) {
    text_.push_back(tokens_.size());
    tokens_.push_back(token);
    for (TokenBuffer& held : prepending_) held.push_back(token);
    if (!plans_.empty()) {
        ++plans_.back().written.count;
        plans_.back().written_at.push_back(now());
    }
    return true;
}

FLASHBACK_DETAIL_ONCE void ReuseTrace::rewind(std::size_t tokens) {
    text_.resize(text_.size() - std::min(tokens, text_.size()));
    rewound_ += tokens;
}

FLASHBACK_DETAIL_ONCE void ReuseTrace::planned(const CarriedOutPlan& plan) {
    if (plans_.empty()) {
        prompt_ = {TraceKind::text, tokens_.size(), plan.prompt_tokens};
        append(tokens_, plan.text.first(plan.prompt_tokens));
        for (std::size_t i = 0; i < plan.prompt_tokens; ++i) text_.push_back(prompt_.begin + i);
    }
    FLASHBACK_ASSERT(text_.size() == plan.text.size(), "a trace heard of a text of ", text_.size(),
                     " tokens, but the plan is of one with ", plan.text.size(),
                     ": it records one generation, and must be told of every token and of every rewind");
    TracedPlan traced;
    const Generation& so_far = *plan.so_far;
    traced.at = plan.text.size() - plan.prompt_tokens;
    traced.rewound = std::exchange(rewound_, 0);
    if (so_far.retrievals.size() > retrievals_) traced.retrieval = so_far.retrievals.size() - 1;
    prepending_.resize(plan.contexts.size());
    for (std::size_t i = 0; i < plan.contexts.size(); ++i) {
        traced.contexts.push_back(context_of(plan.contexts[i], plan));
        traced.prepend += prepended(i, plan.contexts[i], plan);
    }
    traced.done = now();
    // The tokens since the last plan were evaluated one by one, but for the newest, which this plan read; so all others belong there.
    traced.counts = detail::difference(so_far.stats.counts, counted_);
    if (!plans_.empty()) {
        TracedPlan& last = plans_.back();
        const std::size_t steps = traced.retrieval         ? traced.counts.requested - so_far.retrievals.back().counts.requested
                                  : last.written.count > 0 ? (last.written.count - 1) * last.contexts.size()
                                                           : 0;
        // A plan may have come between of which nobody was told: see CarriedOutPlan.
        const std::size_t single = std::min(steps, last.written.count * last.contexts.size());
        last.steps = {single, single, 0, 0};
        traced.counts = detail::difference(traced.counts, last.steps);
        last.seconds.decode = so_far.stats.seconds.decode - spent_.decode;
        last.seconds.total += last.seconds.decode;
    }
    traced.recompute = traced.counts.requested;
    traced.seconds.retrieve = so_far.stats.seconds.retrieve - spent_.retrieve;
    traced.seconds.prefill = so_far.stats.seconds.prefill - spent_.prefill;
    traced.seconds.total = traced.seconds.retrieve + traced.seconds.prefill;
    counted_ = so_far.stats.counts;
    spent_ = so_far.stats.seconds;
    retrievals_ = so_far.retrievals.size();
    traced.written = {TraceKind::text, tokens_.size(), 0};
    plans_.push_back(std::move(traced));
}

FLASHBACK_DETAIL_ONCE void ReuseTrace::finish(const Generation& generation) {
    generation_ = generation;
    if (plans_.empty()) return;
    TracedPlan& last = plans_.back();
    last.steps = detail::difference(generation.stats.counts, counted_);
    const Seconds& all = generation.stats.seconds;
    last.seconds.decode = all.decode - spent_.decode;
    last.seconds.total += last.seconds.decode;
    // A search before a window that is full, say.
    last.unfinished.retrieve = all.retrieve - spent_.retrieve;
    last.unfinished.prefill = all.prefill - spent_.prefill;
    last.unfinished.total = last.unfinished.retrieve + last.unfinished.prefill;
}

/// Where tokens stand that are not text; they are put there if they are new.
FLASHBACK_DETAIL_ONCE TraceSpan ReuseTrace::put(TraceKind kind, TokenSpan tokens) {
    const auto [place, is_new] = known_.try_emplace(TokenBuffer(tokens.begin(), tokens.end()), tokens_.size());
    if (is_new) append(tokens_, tokens);
    return {kind, place->second, tokens.size()};
}

/// What a wrapper wrote, as passages and what marks them; `next` is the first passage that may stand there.
FLASHBACK_DETAIL_ONCE std::vector<TraceSpan> ReuseTrace::put_wrapped(TokenSpan wrapped, std::span<const Passage> passages,
                                                                     std::size_t& next) {
    std::vector<TraceSpan> spans;
    const TraceSpan all = put(TraceKind::marker, wrapped);
    for (std::size_t i = 0; i < wrapped.size();) {
        while (next < passages.size() && passages[next].tokens.empty()) ++next;
        const bool passage = next < passages.size() && detail::begins_with(wrapped.subspan(i), passages[next].tokens);
        const std::size_t count = passage ? passages[next++].tokens.size() : 1;
        spans.push_back({passage ? TraceKind::passage : TraceKind::marker, all.begin + i, count});
        i += count;
    }
    return spans;
}

FLASHBACK_DETAIL_ONCE TracedContext ReuseTrace::context_of(const ReadContext& read, const CarriedOutPlan& plan) {
    TracedContext context{{}, read.tokens.size(), read.kept, {}};
    std::vector<std::vector<TraceSpan>> wrapped;
    std::size_t next = 0;
    for (const TokenSpan one : read.wrapped) wrapped.push_back(put_wrapped(one, read.passages, next));
    if (read.beside) {
        for (const auto& spans : wrapped) context.beside.insert(context.beside.end(), spans.begin(), spans.end());
    }
    // Which token of the text stands at each position.
    std::vector<std::size_t> text(read.tokens.size(), ReadContext::nowhere);
    for (std::size_t i = 0; i < read.places.size(); ++i)
        if (read.places[i] < text.size()) text[read.places[i]] = text_[i];
    const std::size_t head = detail::begins_with(read.tokens, plan.head) ? plan.head.size() : 0;
    detail::add_span(context.spans, put(TraceKind::head, plan.head.first(head)));
    std::vector<bool> placed(wrapped.size(), read.beside);
    for (std::size_t i = head; i < read.tokens.size();) {
        if (text[i] != ReadContext::nowhere) {
            detail::add_span(context.spans, {TraceKind::text, text[i++], 1});
            continue;
        }
        std::size_t p = 0;
        while (p < placed.size() &&
               (placed[p] || read.wrapped[p].empty() || !detail::begins_with(read.tokens.subspan(i), read.wrapped[p])))
            ++p;
        if (p < placed.size()) {
            placed[p] = true;
            for (const TraceSpan& span : wrapped[p]) detail::add_span(context.spans, span);
            i += read.wrapped[p].size();
            continue;
        }
        std::size_t end = i + 1;
        while (end < read.tokens.size() && text[end] == ReadContext::nowhere) ++end;
        if (std::ranges::find(placed, false) != placed.end()) end = i + 1;  // a passage may begin behind it
        detail::add_span(context.spans, put(TraceKind::other, read.tokens.subspan(i, end - i)));
        i = end;
    }
    return context;
}

/// What PrependPassages would evaluate for the same.
FLASHBACK_DETAIL_ONCE std::size_t ReuseTrace::prepended(std::size_t branch, const ReadContext& read,
                                                        const CarriedOutPlan& plan) {
    // A text that is nowhere is that of a layout which writes something else.
    const bool found = std::ranges::any_of(read.places, [](std::size_t place) { return place != ReadContext::nowhere; });
    TokenBuffer wanted;
    append(wanted, plan.head);
    append(wanted, read.wrapped);
    for (std::size_t i = 0; i < read.places.size(); ++i)
        if (!found || read.places[i] != ReadContext::nowhere) wanted.push_back(plan.text[i]);
    if (wanted.empty()) return 0;
    const std::size_t kept = std::min(common_prefix(prepending_[branch], wanted), wanted.size() - 1);
    const std::size_t evaluated = wanted.size() - kept;
    prepending_[branch] = std::move(wanted);
    return evaluated;
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file A text in strides, each with the passages that were found for it. Perplexity with retrieval is measured on them, and
/// training examples are made of them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/allowed_passages.hpp"
#include "flashback/data/text_stream.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/fusion.hpp"
#include "flashback/policy/query.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How a text is walked through. The strides begin at `init`, `init + stride`, and so on. Each has a context, which is the
/// tokens before it that may be read, and the passages that its query found.
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code: init 512, stride 16, passages of 128 tokens
struct StrideOptions {
    std::size_t init = 512;            ///< tokens before the first stride
    std::size_t stride = 16;           ///< tokens to predict for each retrieval
    std::size_t strides = 0;           ///< the most strides to take; 0: all whole ones
    std::size_t context = 256;         ///< tokens of a context
    std::size_t most_context = 0;      ///< if not 0, contexts (the first of each `hold`) are random, `context` to this
    std::uint64_t seed = 0;            ///< for random contexts; the context of a stride depends on this and on its number
    std::size_t hold = 0;              ///< if not 0, contexts keep their start for this many tokens of strides, and grow
    std::size_t passages = 1;          ///< for each stride; 0: nothing is searched
    std::size_t passage_tokens = 128;  ///< passages are cut to this many tokens
    ExecutorRef executor = {};         ///< searches several strides at once, if a const retriever can be asked
    std::function<void(std::size_t done, std::size_t all)> progress = {};  ///< called now and then, in the caller's thread
};

/// A stride and what was found for it.
struct RetrievedStride {
    std::size_t at = 0;                        ///< where its first token is in the text
    std::size_t context = 0;                   ///< how many tokens before it may be read
    TokenSpan passages = {};                   ///< all tokens of its passages, the best first; each passage is cut
    std::span<const std::uint64_t> ends = {};  ///< where each passage ends, counted from a token `begin` in front of the first
    std::uint64_t begin = 0;                   ///< the end of the passages before, in the same count
    std::span<const float> scores = {};        ///< of each passage, as the retriever gave them; 0 where there is none

    /// How many passages were found.
    std::size_t found() const noexcept { return ends.size(); }
    /// The tokens of a passage.
    /// Requires  i < found()
    TokenSpan passage(std::size_t i) const noexcept {
        const std::uint64_t first = i == 0 ? begin : ends[i - 1];
        return passages.subspan(static_cast<std::size_t>(first - begin), static_cast<std::size_t>(ends[i] - first));
    }
};

/// The strides of a text. Copies share the passages.
class RetrievedStrides {
public:
    /// One stride as it is stored.
    struct Entry {
        std::uint64_t at = 0;       ///< where its first token is in the text
        std::uint64_t context = 0;  ///< how many tokens before it may be read
        std::uint64_t end = 0;      ///< where its passages end among all passages; those of the next stride begin there

        bool operator==(const Entry&) const = default;
    };

    RetrievedStrides() = default;
    /// Takes views of data that `owner` keeps alive: the strides; where each passage ends among all tokens, and there the next
    /// begins; the score of each; and these tokens.
    /// Requires  both kinds of ends ascend, up to the number of passages and of tokens; a score for each passage
    RetrievedStrides(std::size_t stride, std::size_t retrievals, std::span<const Entry> entries,
                     std::span<const std::uint64_t> passage_ends, std::span<const float> scores, TokenSpan tokens,
                     std::shared_ptr<const void> owner)
        : stride_(stride),
          retrievals_(retrievals),
          entries_(entries),
          passage_ends_(passage_ends),
          scores_(scores),
          tokens_(tokens),
          owner_(std::move(owner)) {}

    /// How many strides there are.
    std::size_t size() const noexcept { return entries_.size(); }
    /// How many tokens each stride has.
    std::size_t stride() const noexcept { return stride_; }
    /// For how many of the strides a retriever was asked.
    std::size_t retrievals() const noexcept { return retrievals_; }

    /// A stride; its views are valid as long as a copy of this object lives.
    /// Requires  i < size()
    RetrievedStride operator[](std::size_t i) const noexcept {
        const Entry& entry = entries_[i];
        const auto size = [](std::uint64_t of) { return static_cast<std::size_t>(of); };  // all of it is in memory
        const std::size_t first = i == 0 ? 0 : size(entries_[i - 1].end);
        const std::span<const std::uint64_t> ends = passage_ends_.subspan(first, size(entry.end) - first);
        const std::uint64_t begin = first == 0 ? 0 : passage_ends_[first - 1];
        const std::uint64_t end = ends.empty() ? begin : ends.back();
        return {size(entry.at),
                size(entry.context),
                tokens_.subspan(size(begin), size(end - begin)),
                ends,
                begin,
                scores_.subspan(first, ends.size())};
    }

    /// All strides, as they are stored.
    std::span<const Entry> entries() const noexcept { return entries_; }
    /// Where each passage of all strides ends among all tokens.
    std::span<const std::uint64_t> passage_ends() const noexcept { return passage_ends_; }
    /// The score of each passage of all strides.
    std::span<const float> scores() const noexcept { return scores_; }
    /// The tokens of the passages of all strides.
    TokenSpan tokens() const noexcept { return tokens_; }

private:
    std::size_t stride_ = 0;
    std::size_t retrievals_ = 0;
    std::span<const Entry> entries_;
    std::span<const std::uint64_t> passage_ends_;
    std::span<const float> scores_;
    TokenSpan tokens_;
    std::shared_ptr<const void> owner_;
};

namespace detail {

/// Passages one after the other, where each ends, and its score.
struct FoundPassages {
    std::vector<std::uint64_t> ends;
    std::vector<float> scores;
    TokenBuffer tokens;

    void add(TokenSpan passage, float score) {
        append(tokens, passage);
        ends.push_back(tokens.size());
        scores.push_back(score);
    }
    void add(const FoundPassages& other) {
        for (const std::uint64_t end : other.ends) ends.push_back(tokens.size() + end);
        scores.insert(scores.end(), other.scores.begin(), other.scores.end());
        append(tokens, other.tokens);
    }
    /// Keeps the first `count`.
    void resize(std::size_t count) {
        ends.resize(count);
        scores.resize(count);
        tokens.resize(ends.empty() ? 0 : static_cast<std::size_t>(ends.back()));
    }
};

/// Strides that own their data.
struct OwnedStrides {
    std::vector<RetrievedStrides::Entry> entries;
    FoundPassages passages;
};

/// Where each stride is and how long its context is, without passages.
/// Throws    Error{contract} for options that make no sense, or a text without a whole stride
inline std::vector<RetrievedStrides::Entry> walk(std::size_t tokens, const StrideOptions& o) {
    const std::size_t most = std::max(o.context, o.most_context) + (o.hold > o.stride ? o.hold - o.stride : 0);
    FLASHBACK_ASSERT(o.stride > 0, "a stride needs at least 1 token, found 0");
    FLASHBACK_ASSERT(o.passages == 0 || o.passage_tokens > 0, "a passage needs at least 1 token, found a limit of 0");
    FLASHBACK_ASSERT(o.most_context == 0 || o.most_context >= o.context, "random contexts of ", o.context, " to ",
                     o.most_context, " tokens, expected the lesser length first");
    FLASHBACK_ASSERT(o.hold % o.stride == 0, "the start of contexts is held for ", o.hold,
                     " tokens, expected a multiple of the stride of ", o.stride);
    FLASHBACK_ASSERT(o.context > 0 && most <= o.init, "contexts have up to ", most, " tokens, expected 1 to the ", o.init,
                     " in front of the first stride");
    FLASHBACK_ASSERT(tokens >= o.init && tokens - o.init >= o.stride, "the text has ", tokens, " tokens, expected at least ",
                     o.init, " and a stride of ", o.stride);
    const std::size_t whole = (tokens - o.init) / o.stride;
    std::vector<RetrievedStrides::Entry> entries(o.strides == 0 ? whole : std::min(o.strides, whole));
    for (std::size_t i = 0; i < entries.size(); ++i) {
        std::size_t context = o.context;
        if (o.most_context > 0) {
            const std::size_t number = o.hold > 0 ? i * o.stride / o.hold : i;
            SplitMix64 random{SplitMix64{o.seed}.next() + number * SplitMix64::increment};
            context += static_cast<std::size_t>(random.below(o.most_context - o.context + 1));
        }
        if (o.hold > 0) context += i * o.stride % o.hold;
        entries[i] = {o.init + i * o.stride, context, 0};
    }
    return entries;
}

/// A stride of a text, before its passages are found.
struct StridePlace {
    const TextStream& text;
    const StrideOptions& options;
    const RetrievedStrides::Entry& entry;
    std::size_t number;
};

/// Appends the passages of one stride and gives their number.
template <class R, class QueryFrom, class Forbidden>
std::size_t find_passages(const StridePlace& place, R& retriever, QueryFrom& query, const Forbidden& forbidden,
                          FoundPassages& out) {
    const StrideOptions& o = place.options;
    const RetrievedStrides::Entry& entry = place.entry;
    const StepView step{.context = place.text.tokens().first(entry.at),
                        .prompt_tokens = o.init,
                        .retrievals = place.number,
                        .since_retrieval = place.number > 0 ? o.stride : 0};
    OwnedQuery asked;
    asked.assign(query(step));
    Query whole = asked.view();
    whole.context = step.context;
    AllowedPassages allowed{retriever, forbidden, o.passage_tokens,
                            stride_source(place.text, entry.at - entry.context, entry.at + o.stride)};
    const std::span<const Passage> found = allowed.retrieve(whole, o.passages);
    for (const Passage& passage : found) out.add(passage.tokens, passage.score);
    return found.size();
}

}  // namespace detail

/// Walks through a text and finds the passages of each stride. A passage must not come from a document to which a token of the
/// stride or of its context belongs: `forbidden(passage, source)` tells whether it does.
///
/// The query is made of the text before the stride; each thread uses its own copy of `query`.
/// Throws    Error{contract} for options that make no sense, a text without a whole stride, or passages without tokens; what
///           the retriever throws
/// Cost      one search for each stride, as AllowedPassages asks
template <class R, QueryBuilder QueryFrom, class Forbidden = FromSource>
RetrievedStrides retrieve_strides(const TextStream& text, R& retriever, const QueryFrom& query, const StrideOptions& options,
                                  const Forbidden& forbidden = {}) {
    static_assert(checked_retriever<R>());
    constexpr bool shared = Retriever<const R>;  // const, so that several threads may ask it at once
    auto owned = std::make_shared<detail::OwnedStrides>();
    std::vector<RetrievedStrides::Entry>& entries = owned->entries;
    entries = detail::walk(text.tokens().size(), options);
    const std::size_t all = options.passages == 0 ? 0 : entries.size();
    const std::size_t parts = shared ? options.executor.concurrency() : 1;
    constexpr std::size_t together = 64;
    std::vector<detail::FoundPassages> found(parts);
    for (std::size_t first = 0; first < all; first += parts * together) {
        options.executor.run(parts, [&](std::size_t part) {
            std::conditional_t<shared, const R, R>& asked = retriever;
            QueryFrom builder = query;
            found[part].resize(0);
            const std::size_t begin = std::min(all, first + part * together);
            for (std::size_t i = begin; i < std::min(all, begin + together); ++i) {
                entries[i].end = detail::find_passages({text, options, entries[i], i}, asked, builder, forbidden, found[part]);
            }
        });
        for (const detail::FoundPassages& some : found) owned->passages.add(some);
        if (options.progress) options.progress(std::min(all, first + parts * together), all);
    }
    for (std::size_t i = 1; i < entries.size(); ++i) entries[i].end += entries[i - 1].end;
    return {options.stride, all, entries, owned->passages.ends, owned->passages.scores, owned->passages.tokens, owned};
}

/// Refuses a stride of another text.
inline void check_within(TokenSpan text, const RetrievedStride& stride, std::size_t targets) {
    FLASHBACK_ASSERT(stride.context <= stride.at && stride.at <= text.size() && targets <= text.size() - stride.at,
                     "a stride of ", targets, " tokens with a context of ", stride.context, " begins at token ", stride.at,
                     " of a text of ", text.size(), ", expected strides of this text");
}

/// A stride to plan: its text, and how many of its tokens will be evaluated after what is planned.
struct PlannedStride {
    TokenSpan text;                              ///< the whole text, which the strides are of
    const RetrievedStride& stride;               ///< what was found for it
    std::size_t targets;                         ///< how many of its tokens are evaluated after the plan
    std::optional<std::size_t> held_plain = {};  ///< as ContextParts has it
    std::size_t written = 0;                     ///< the same
};

/// How the context of a stride is read beside its passages.
struct StrideLayout {
    TokenSpan head = {};  ///< what stands in front of everything: BOS
    bool passages_replace_text =
        false;               ///< passages take the place of the oldest tokens of the context, one for one; if they are
                             ///< fused, as many as the branch that reads most
    std::size_t window = 0;  ///< if not 0, the most tokens of context, passages and stride; the oldest of the context go
};

namespace detail {

/// The passages of a stride, the best first.
inline std::vector<Passage> passages_of(const RetrievedStride& stride) {
    std::vector<Passage> passages;
    for (std::size_t i = 0; i < stride.found(); ++i)
        passages.push_back({.tokens = stride.passage(i), .score = i < stride.scores.size() ? stride.scores[i] : 0});
    return passages;
}

/// Calls `plan(length)`, which gives the length of the whole, for a context of `length` tokens, or fewer: passages may replace some of it,
/// and the oldest go if a window is too short.
/// Throws    Error{contract}; Error{window}
template <class Plan>
void plan_within(std::size_t length, std::size_t replaced, std::size_t targets, const StrideLayout& how, const Plan& plan) {
    if (how.passages_replace_text) {
        FLASHBACK_ASSERT(length > replaced, "passages of ", replaced, " tokens replace all of a context of ", length,
                         ", expected a longer one");
        length -= replaced;
    }
    const std::size_t needed = plan(length) + targets;
    if (how.window == 0 || needed <= how.window) return;
    const std::size_t fixed = needed - length;
    if (fixed >= how.window) {
        FLASHBACK_THROW(ErrorCode::window, "head, passages and a stride of ", targets, " tokens need ", fixed,
                        " positions, and a window of ", how.window, " leaves no room for text");
    }
    static_cast<void>(plan(how.window - fixed));
}

}  // namespace detail

/// Room for the plan of a stride: of one text, or of branches.
struct StrideScratch {
    std::vector<PassageGroup> groups = {};  ///< which passages are read together
    PlanScratch text = {};                  ///< for the plan of one text
    FusedScratch fused = {};                ///< for the plan of branches
};

/// What is planned for a stride: a text, or branches if the passages are fused.
struct StridePlan {
    ContextPlan text;  ///< without branches
    FusedPlan fused;   ///< with branches; none if there is one text
    /// Whether the passages are fused in branches.
    bool branches() const noexcept { return !fused.branches.empty(); }
    /// Tokens of the longest text.
    std::size_t longest() const noexcept { return branches() ? fused.longest : text.wanted.size(); }
};

/// Plans what a model should hold before a stride, by the policies that decode: wrapper, layout, reuse and fusion. `standing` are the
/// branches of the last plan.
/// Throws    Error{contract} if passages that replace text leave none of it; Error{window} if head, passages and stride leave
///           no room for a token of it; as `plan_context` and `plan_branches`
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code: passages and text together have a fixed
///           length; Ram et al. 2023, In-Context RALM: passages replace text
template <class P>
StridePlan plan_stride(const P& policies, TokenSpan held, const PlannedStride& planned, const StrideLayout& how,
                       StrideScratch& scratch, std::span<const HeldBranch> standing = {}) {
    const RetrievedStride& stride = planned.stride;
    const std::vector<Passage> passages = detail::passages_of(stride);
    scratch.groups.clear();
    fusion_of(policies).groups(passages.size(), scratch.groups);
    const std::string wrong = wrong_groups(fusion_of(policies), scratch.groups, passages.size());
    FLASHBACK_ASSERT(wrong.empty(), wrong);
    StridePlan plan;
    const std::size_t replaced = most_tokens_of(scratch.groups, passages);
    detail::plan_within(stride.context, replaced, planned.targets, how, [&](std::size_t length) {
        ContextParts parts{how.head, passages,           planned.text.subspan(stride.at - length, length),
                           {},       planned.held_plain, planned.written};
        if (scratch.groups.size() == 1) {
            parts.passages = scratch.fused.grouped.of(passages, scratch.groups.front());
            plan.text = plan_context(policies, held, parts, scratch.text);
        } else {
            plan.fused = plan_branches(policies, held, parts, scratch.groups, standing, scratch.fused);
        }
        return plan.longest();
    });
    return plan;
}

}  // namespace flashback::inline FLASHBACK_ISA

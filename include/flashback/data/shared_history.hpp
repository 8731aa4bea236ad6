/// \file Training examples that share their text: it is evaluated once, and each of them is a branch.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/example.hpp"
#include "flashback/data/retrieval_examples.hpp"
#include "flashback/data/retrieval_strides.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// How many tokens of an example its targets may share with others: those that see no passage, and do not predict.
inline std::size_t most_shared(const TrainingExample& e) noexcept {
    const std::size_t before = e.targets.front() - 1;
    return e.beside.size() > 0 ? std::min(before, e.beside.begin) : before;
}

/// The tokens that one of some examples has in common with the next, or that stand in front of a passage beside its text: the longest.
inline TokenSpan longest_history(std::span<const TrainingExample> examples) {
    TokenSpan history;
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const TokenSpan tokens = examples[i].tokens;
        std::size_t size = i > 0 ? common_prefix(examples[i - 1].tokens, tokens) : 0;
        if (examples[i].beside.size() > 0) size = examples[i].beside.begin;
        if (size > history.size()) history = tokens.first(size);
    }
    return history;
}

/// Whether all of an example is the beginning of a history, and its targets are behind those that this has already.
inline bool stands_in(TokenSpan history, const TrainingExample& e, std::span<const std::uint32_t> targets) {
    return e.beside.size() == 0 && common_prefix(history, e.tokens) == e.tokens.size() &&
           (targets.empty() || e.targets.front() > targets.back());
}

}  // namespace detail

/// One example of several: the tokens with which they begin alike are evaluated once, for all. The rest of each is a branch, which
/// sees as many of these as it has in common with them, at the positions that it would have alone. So its loss is the sum of theirs,
/// and its gradient, too (without dropout, which draws by row). Passages after the text, or beside it, leave the text in common;
/// passages in front of it leave nothing.
///
/// The branches stand behind the text: first what is in front of the token that predicts first, of each, then the rest of each. An example
/// that is whole in the text, because no passage stands behind it, needs no branch: its targets are there.
/// Requires  examples without runs, each with a target, as a trainer takes them
/// Throws    Error{contract} if there are none, for an example with runs or without targets; or if the text in front of a passage beside
///           it is not the history of all
/// Cost      a copy of the tokens; O(tokens) to compare them
/// Source    FlashBack (arXiv 2405.04065), section 3.2: a text does not see the passages after it
inline TrainingExample share_history(std::span<const TrainingExample> examples) {
    FLASHBACK_ASSERT(!examples.empty(), "no training examples to share a history, expected at least one");
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const TrainingExample& e = examples[i];
        FLASHBACK_ASSERT(e.runs.empty() && !e.targets.empty(), "training example ", i, " has ", e.runs.size(), " runs and ",
                         e.targets.size(), " targets, expected one without runs, and a target");
    }
    const TokenSpan history = detail::longest_history(examples);
    TrainingExample all;
    const auto add = [&](TokenSpan tokens, TokenRun run) {
        run.begin = all.tokens.size();
        append(all.tokens, tokens);
        run.end = all.tokens.size();
        all.runs.push_back(run);
    };
    if (!history.empty()) add(history, {});
    std::vector<TokenRun> rests(examples.size());
    std::vector<std::size_t> branches;
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const TrainingExample& e = examples[i];
        if (detail::stands_in(history, e, all.targets)) {
            all.targets.insert(all.targets.end(), e.targets.begin(), e.targets.end());
            continue;
        }
        branches.push_back(i);
        const std::size_t most = detail::most_shared(e);
        const std::size_t shared = std::min(common_prefix(history, e.tokens), most);
        TokenRun& rest = rests[i];
        rest = {.position = shared, .shared = shared};
        const bool aside = e.beside.size() > 0;
        FLASHBACK_ASSERT(!aside || shared == e.beside.begin, "training example ", i, " has ", e.beside.begin,
                         " tokens in front of a passage beside them, of which ", shared,
                         " are the history of all, expected that of one text");
        const std::size_t from = aside ? e.beside.begin : shared;
        const std::size_t to = aside ? e.beside.end : most;
        if (from == to) continue;
        rest.passage = all.runs.size();
        if (aside) {
            rest.gap = e.beside.gap;
            add(TokenSpan{e.tokens}.subspan(from, to - from), {.position = e.beside.head, .shared = e.beside.head});
        } else {
            rest.position = to;
            add(TokenSpan{e.tokens}.subspan(from, to - from), {.position = shared, .shared = shared});
        }
    }
    for (const std::size_t i : branches) {
        const TrainingExample& e = examples[i];
        const std::size_t from = e.beside.size() > 0 ? e.beside.end : detail::most_shared(e);
        const std::size_t begin = all.tokens.size();
        add(TokenSpan{e.tokens}.subspan(from), rests[i]);
        for (const std::uint32_t target : e.targets) all.targets.push_back(static_cast<std::uint32_t>(target - from + begin));
    }
    return all;
}

/// Examples by number, each with the strides whose contexts begin at the same token, as StrideOptions::hold makes them. Their loss is that
/// of the single strides, each with its whole context; passages replace none of it.
///
/// Requires  as RetrievalExamples
template <class P>
class SharedHistoryExamples {
public:
    /// As RetrievalExamples. An example has up to `most` strides: random contexts may begin where those before them do.
    /// Throws    as RetrievalExamples; Error{contract} if `most` is 0
    SharedHistoryExamples(TokenSpan text, RetrievedStrides strides, P policies, TokenSpan head, std::size_t window,
                          std::size_t most)
        : strides_(text, strides, std::move(policies), head, window, /*passages_replace_text=*/false) {
        FLASHBACK_ASSERT(most > 0, "an example of shared history has at most ", most, " strides, expected at least 1");
        for (std::size_t i = 0; i < strides.size(); ++i) {
            const bool same = i > 0 && strides[i].at - strides[i].context == strides[i - 1].at - strides[i - 1].context;
            if (!same || i - firsts_.back() == most) firsts_.push_back(i);
        }
        firsts_.push_back(strides.size());
    }

    /// How many examples there are.
    std::size_t size() const noexcept { return firsts_.size() - 1; }

    /// Requires  i < size()
    /// Throws    as share_history
    /// Cost      as share_history
    TrainingExample operator[](std::size_t i) const {
        std::vector<TrainingExample> strides;
        for (std::size_t s = firsts_[i]; s < firsts_[i + 1]; ++s) strides.push_back(strides_[s]);
        return share_history(strides);
    }

    /// The strides, each an example of its own.
    const RetrievalExamples<P>& strides() const noexcept { return strides_; }

private:
    RetrievalExamples<P> strides_;
    std::vector<std::size_t> firsts_;  // stride of each example, and behind the last
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file A query of the words that a position reads most: what DRAGIN and ETC share.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/content_words.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

template <class W>
concept JoinsTokens = requires(Unwrapped<W>& counts, TokenId token) {
    { counts.continues(token) } -> std::same_as<bool>;
};

/// The words of a text that grows: where they begin, and which of its tokens count. Each token is asked about once.
class TextWords {
public:
    void clear() noexcept { marks_.clear(); }
    void reserve(std::size_t tokens) { marks_.reserve(tokens); }
    /// Keeps the oldest tokens.
    void keep(std::size_t tokens) { marks_.resize(std::min(tokens, marks_.size())); }

    template <class Counts>
    void read(TokenSpan text, Counts& counts) {
        keep(text.size());
        for (const TokenId token : text.subspan(marks_.size())) {
            Mark mark{unwrap(counts)(token), true};
            if constexpr (JoinsTokens<Counts>) mark.begins = marks_.empty() || !unwrap(counts).continues(token);
            marks_.push_back(mark);
        }
    }

    bool counts(std::size_t token) const noexcept { return marks_[token].counts; }
    /// Whether a word begins with the token; the first token of a text begins one.
    bool begins(std::size_t token) const noexcept { return marks_[token].begins; }

    /// Where the word ends that begins at `first`: at another word's begin, or at `end`.
    std::size_t word_end(std::size_t first, std::size_t end) const noexcept {
        std::size_t next = first + 1;
        while (next < end && !marks_[next].begins) ++next;
        return next;
    }
    /// Whether one of the tokens counts.
    bool any_counts(std::size_t first, std::size_t end) const noexcept {
        return std::any_of(marks_.begin() + static_cast<std::ptrdiff_t>(first),
                           marks_.begin() + static_cast<std::ptrdiff_t>(end), [](Mark mark) { return mark.counts; });
    }

private:
    struct Mark {
        bool counts;
        bool begins;
    };
    std::vector<Mark> marks_;
};

/// What the position that gave the logits reads in the last layer.
inline AttentionWeights last_layer(const StepView& step) {
    FLASHBACK_ASSERT(step.attention != nullptr && step.attention->layers > 0,
                     "a method that reads attention was asked about a step without it: the model must be an AttentiveModel");
    return step.attention->weights(step.attention->layers - 1);
}

/// Appends how much that position reads of each token of the context in front of the newest, which it gave: the mean over heads; 0 for
/// what the model does not hold.
inline void read_of_text(const StepView& step, const AttentionWeights& weights, std::vector<float>& out) {
    const std::size_t first = out.size();
    const std::size_t tokens = step.context.size() - 1;
    out.resize(first + tokens, 0.0f);
    const float share = 1.0f / static_cast<float>(std::max<std::size_t>(weights.heads, 1));
    for (std::size_t h = 0; h < weights.heads; ++h) {
        const std::span<const float> head = weights.head(h);
        for (std::size_t i = 0; i < tokens; ++i) {
            const std::size_t place = step.attention->places[i];
            if (place < head.size()) out[first + i] += head[place] * share;
        }
    }
}

/// The content words that are read most, at most `most` of them, in the order of the text. What a word's tokens are read is added up; of
/// words that are read as much the earlier ones come first, and one that is not read at all is none of them.
/// Source    Su et al. 2024, DRAGIN (arXiv 2403.10081), section 3.2 (query formulation based on self-attention)
class AttendedWords {
public:
    /// Requires  `read` is for the first tokens of the text, and `words` knows them
    void find(TokenSpan text, std::span<const float> read, const TextWords& words, std::size_t most, TokenBuffer& out) {
        found_.clear();
        for (std::size_t first = 0, end = 0; first < read.size(); first = end) {
            end = words.word_end(first, read.size());
            double sum = 0;
            for (std::size_t i = first; i < end; ++i) sum += static_cast<double>(read[i]);
            if (sum > 0 && words.any_counts(first, end)) found_.push_back({sum, first, end});
        }
        const std::size_t count = std::min(most, found_.size());
        const auto middle = found_.begin() + static_cast<std::ptrdiff_t>(count);
        std::ranges::partial_sort(found_, middle, [](const Word& a, const Word& b) {
            return a.read > b.read || (a.read == b.read && a.first < b.first);
        });
        found_.resize(count);
        std::ranges::sort(found_, {}, &Word::first);
        out.clear();
        for (const Word& word : found_) append(out, text.subspan(word.first, word.end - word.first));
    }

private:
    struct Word {
        double read;
        std::size_t first;
        std::size_t end;
    };
    std::vector<Word> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

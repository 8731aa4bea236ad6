/// \file How a text is cut into windows, and what logits say of the tokens in them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// How a text is read: in windows of `window` tokens with `head` in front, each beginning `stride` tokens after the one before.
struct TextWindows {
    TokenSpan head;
    std::size_t window;
    std::size_t stride;
    std::size_t block;
};

/// Reads a text window by window with all models side by side. `score(first, logits..., scores)` fills the scores of the tokens from
/// `first` on, for each block of a window, and `take(score)` gets those of all tokens in order. A token counts in the first window
/// that holds it, with the logits that all models gave before it. If there is no head, the first token of a window has no such
/// logits and is left out. Ranks take turns with the windows, and all get all scores.
/// Shape     logits (scores, vocab)
/// Cost      tokens before those that count are evaluated without logits; holds the scores of one window; gives the number of
///           windows
template <class Score, class Fill, class Take, class... Models>
std::size_t each_score(TokenSpan tokens, const TextWindows& how, RanksRef ranks, const Fill& score, const Take& take,
                       Models&... models) {
    const auto logits_of_all = [](auto& model, TokenSpan feed) {
        const std::span<const float> logits = model.evaluate_all(feed);
        if (logits.size() != feed.size() * static_cast<std::size_t>(model.vocab_size())) {
            FLASHBACK_THROW(ErrorCode::logits, "the model gave ", logits.size(), " logits for ", feed.size(),
                            " tokens, expected ", model.vocab_size(), " for each");
        }
        return logits;
    };
    TokenBuffer read;
    std::vector<Score> mine;
    const auto evaluate = [&](std::size_t begin, std::size_t end, std::size_t first) {
        // The logits after read[i] predict the token begin + i + 1 - head. Nothing is read after the last one.
        read.assign(how.head.begin(), how.head.end());
        append(read, tokens.subspan(begin, end - begin));
        read.pop_back();
        mine.resize(end - first);
        const std::size_t before = how.head.size() + first - begin - 1;
        (models.truncate(0), ...);
        if (before > 0) (static_cast<void>(models.evaluate(TokenSpan{read}.first(before))), ...);
        for (std::size_t i = before; i < read.size(); i += how.block) {
            const TokenSpan feed = TokenSpan{read}.subspan(i, std::min(how.block, read.size() - i));
            score(first + i - before, std::span{mine}.subspan(i - before, feed.size()), logits_of_all(models, feed)...);
        }
    };
    std::vector<std::size_t> counts;  // of a window for each rank
    std::vector<Score> scores;
    std::size_t windows = 0;
    for (std::size_t begin = 0, counted = 0; counted < tokens.size();) {
        counts.clear();
        for (; counts.size() < ranks.size() && counted < tokens.size(); begin += how.stride) {
            const std::size_t end = std::min(begin + how.window, tokens.size());
            const std::size_t first = how.head.empty() ? std::max(counted, begin + 1) : counted;
            counted = end;
            if (counts.size() == ranks.rank()) evaluate(begin, end, first);
            counts.push_back(end - first);
        }
        windows += counts.size();
        for (std::size_t rank = 0; rank < counts.size(); ++rank) {
            if (rank == ranks.rank()) scores.swap(mine);
            scores.resize(counts[rank]);
            ranks.broadcast(std::span{scores}, rank);
            for (const Score& one : scores) take(one);
        }
    }
    return windows;
}

/// The tokens that may be predicted: all that are not masked, as ranges of ids.
class OpenIds {
public:
    OpenIds(std::size_t vocab, TokenSpan masked) {
        std::vector<std::size_t> closed;
        for (const TokenId id : masked) {
            if (id >= 0 && static_cast<std::size_t>(id) < vocab) closed.push_back(static_cast<std::size_t>(id));
        }
        std::ranges::sort(closed);
        closed.push_back(vocab);
        std::size_t begin = 0;
        for (const std::size_t id : closed) {
            if (begin < id) ranges_.push_back(Range{begin, id - begin});
            begin = std::max(begin, id + 1);
        }
    }

    bool empty() const noexcept { return ranges_.empty(); }

    /// Calls `visit(first id, logits of a range)` for each range.
    template <class Visit>
    void each(std::span<const float> logits, const Visit& visit) const {
        for (const Range& range : ranges_) visit(range.first, logits.subspan(range.first, range.count));
    }

private:
    struct Range {
        std::size_t first, count;
    };
    std::vector<Range> ranges_;
};

/// What one row of logits means.
struct RowFacts {
    std::size_t likeliest = 0;  ///< the id of the greatest logit; the lowest such id if there are several
    double most = -std::numeric_limits<double>::infinity();
    double total = 0;  ///< sum of e^(logit - most); NaN if a logit is NaN or +infinity

    /// -ln of the probability of a token.
    double nats(double logit) const noexcept { return most - logit + std::log(total); }
};

inline RowFacts facts_of(std::span<const float> logits, const OpenIds& open) {
    RowFacts facts;
    open.each(logits, [&](std::size_t first, std::span<const float> range) {
        for (std::size_t i = 0; i < range.size(); ++i) {
            if (static_cast<double>(range[i]) > facts.most) {
                facts.most = static_cast<double>(range[i]);
                facts.likeliest = first + i;
            }
        }
    });
    open.each(logits, [&](std::size_t, std::span<const float> range) {
        for (const float logit : range) facts.total += exp_of_negative(static_cast<double>(logit) - facts.most);
    });
    return facts;
}

/// The relative entropy of the distributions of two rows of logits, in nats: how many more nats the second needs for what the
/// first says.
inline double relative_entropy(std::span<const float> p, const RowFacts& of_p, std::span<const float> q, const RowFacts& of_q,
                               const OpenIds& open) {
    double sum = 0;
    open.each(p, [&](std::size_t first, std::span<const float> range) {
        for (std::size_t i = 0; i < range.size(); ++i) {
            const auto x = static_cast<double>(range[i]);
            const double weight = exp_of_negative(x - of_p.most);
            if (weight > 0) sum += weight * (of_q.nats(static_cast<double>(q[first + i])) - of_p.nats(x));
        }
    });
    return std::max(0.0, sum / of_p.total);
}

/// A mean and its standard error, one value at a time.
/// Source    Welford 1962, Note on a method for calculating corrected sums of squares and products
class RunningMean {
public:
    void add(double value) noexcept {
        ++count_;
        const double off = value - mean_;
        mean_ += off / static_cast<double>(count_);
        squares_ += off * (value - mean_);
    }
    std::size_t count() const noexcept { return count_; }
    double mean() const noexcept { return mean_; }
    double standard_error() const noexcept {
        if (count_ < 2) return std::numeric_limits<double>::quiet_NaN();
        return std::sqrt(squares_ / static_cast<double>(count_ - 1) / static_cast<double>(count_));
    }

private:
    std::size_t count_ = 0;
    double mean_ = 0;
    double squares_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file How several passages become one distribution of the next token.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/detail/optional_members.hpp"
#include "flashback/policy/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Passages of an answer that are read together: `count` of them, beginning with the one of rank `first`.
struct PassageGroup {
    std::size_t first = 0;
    std::size_t count = 0;
    bool joined = false;  ///< they stand in one pair of markers, and not each in its own

    constexpr bool operator==(const PassageGroup&) const = default;
};

/// The logits of several branches, a row for each.
class LogitRows {
public:
    /// Requires  `logits` is a whole number of rows of `vocab` logits
    constexpr LogitRows(std::span<const float> logits, std::size_t vocab) noexcept : logits_(logits), vocab_(vocab) {}

    /// Number of rows: of branches.
    constexpr std::size_t size() const noexcept { return logits_.size() / vocab_; }
    /// Number of logits of each.
    constexpr std::size_t vocab_size() const noexcept { return vocab_; }
    /// Requires  row < size()
    constexpr std::span<const float> operator[](std::size_t row) const noexcept {
        return logits_.subspan(row * vocab_, vocab_);
    }

private:
    std::span<const float> logits_;
    std::size_t vocab_;
};

/// Says which passages are read together, and makes one distribution of what follows them.
///
/// | expression            | result | meaning                                                                               |
/// |-----------------------|--------|---------------------------------------------------------------------------------------|
/// | `f.groups(k, out)`    |        | const; appends to a vector, for k passages that were found, the PassageGroup of each branch |
/// | `f(rows, out)`        |        | from the LogitRows of the branches, one row each, the logits of the fused distribution: a span of floats |
///
/// With one group there is one text, as without fusion, and the second is never asked: a fusion that never gives more needs none. With
/// more groups, each is a branch: the same text with other passages. Masked tokens have the logit -infinity in every row, and must have
/// it in `out`.
///
/// The rows keep the order of the groups. Without passages one group is asked for, too: of none.
///
/// Optional members: `f.begin(scores)`, with the scores of the passages, when others are found, or none any more, after `rewind(n)` if
/// tokens were taken back; `f.took(rows, token)`, when the text goes on with a token, with the rows that it was taken from; and those of a
/// RetrievalSchedule.
template <class F>
concept DocumentFusion = requires(const F& fusion, std::size_t passages, std::vector<PassageGroup>& out) {
    fusion.groups(passages, out);
};

namespace detail {

template <class F>
concept Fuses = requires(F& fusion, const LogitRows& rows, std::span<float> out) {
    fusion(rows, out);
};

template <class F>
concept HearsScores = requires(F& fusion, std::span<const float> scores) {
    fusion.begin(scores);
};

template <class F>
concept HearsTokens = requires(F& fusion, const LogitRows& rows, TokenId token) {
    fusion.took(rows, token);
};

FLASHBACK_DETAIL_MEMBER(Begin, begin);
FLASHBACK_DETAIL_MEMBER(Took, took);

template <class F>
concept FittingFusion = DocumentFusion<F> &&
    (!NamesBegin<F> || HearsScores<F>)&&(!NamesTook<F> || HearsTokens<F>)&&FitsOptionally<F>;

/// Refuses, in words, what is no DocumentFusion.
template <class F>
constexpr bool checked_fusion() {
    static_assert(
        DocumentFusion<F>,
        "flashback: a DocumentFusion must have, const, groups(std::size_t passages, std::vector<PassageGroup>& out), and, "
        "if that can give more than one group, be callable as fusion(const LogitRows&, std::span<float> out)");
    static_assert(!NamesBegin<F> || HearsScores<F>,
                  "flashback: begin of a DocumentFusion is called as begin(std::span<const float> scores) when other passages "
                  "are found: this one cannot be");
    static_assert(
        !NamesTook<F> || HearsTokens<F>,
        "flashback: took of a DocumentFusion is called as took(const LogitRows&, TokenId) when the text goes on with a "
        "token: this one cannot be");
    if constexpr (DocumentFusion<F>) checked_optional_members<F>();
    return true;
}

/// A group for each passage; without passages a group of none.
inline void one_group_each(std::size_t passages, std::vector<PassageGroup>& out) {
    if (passages == 0) out.push_back({});
    for (std::size_t i = 0; i < passages; ++i) out.push_back({i, 1});
}

inline constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

}  // namespace detail

/// What is wrong with the groups of a fusion of so many passages; empty if nothing is.
template <class F>
std::string wrong_groups(const F& /*fusion*/, std::span<const PassageGroup> groups, std::size_t passages) {
    if (groups.empty()) return "a fusion of passages gave no group, expected at least one";
    for (const PassageGroup& group : groups) {
        if (group.first <= passages && group.count <= passages - group.first) continue;
        return "a fusion of passages takes " + std::to_string(group.count) + " passages from rank " +
               std::to_string(group.first) + " on, but " + std::to_string(passages) + " were found";
    }
    if (groups.size() > 1 && !detail::Fuses<F>) {
        return "a fusion of passages gave " + std::to_string(groups.size()) +
               " groups, but it cannot be called as fusion(const LogitRows&, std::span<float> out)";
    }
    return {};
}

/// The logits of the fused distribution of several branches.
/// Throws    Error{contract} if the fusion is none that can be called: it was to give one group only
template <class F>
void fuse_logits(F& fusion, const LogitRows& rows, std::span<float> out) {
    if constexpr (detail::Fuses<F>) {
        fusion(rows, out);
    } else {
        FLASHBACK_THROW(ErrorCode::contract, "a fusion of passages gave ", rows.size(),
                        " groups, but it cannot be called as fusion(const LogitRows&, std::span<float> out)");
    }
}

/// Tells a fusion the scores of passages that were found, if it wants to hear them.
template <class F>
void begin_fusion(F& fusion, std::span<const float> scores) {
    if constexpr (detail::HearsScores<F>) fusion.begin(scores);
}

/// Whether a fusion is told the scores of passages; then what it makes of branches may depend on them.
template <class F>
constexpr bool hears_scores() {
    return detail::HearsScores<F>;
}

/// Tells a fusion how the text goes on, if it wants to hear that.
template <class F>
void tell_fusion(F& fusion, const LogitRows& rows, TokenId token) {
    if constexpr (detail::HearsTokens<F>) fusion.took(rows, token);
}

/// Takes the probability of some tokens away, in every row.
inline void mask_rows(std::span<float> rows, std::size_t vocab, TokenSpan ids) {
    for (const TokenId id : ids) {
        if (id < 0 || static_cast<std::size_t>(id) >= vocab) continue;
        for (std::size_t at = static_cast<std::size_t>(id); at < rows.size(); at += vocab)
            rows[at] = -std::numeric_limits<float>::infinity();
    }
}

/// The best passage alone.
struct FirstPassage {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const {
        out.push_back({0, std::min<std::size_t>(passages, 1)});
    }
};

/// All passages in one text, each in markers of its own.
struct Concatenate {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { out.push_back({0, passages}); }
};

/// All passages in one text, in one pair of markers.
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code
struct ConcatenateJoined {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { out.push_back({0, passages, true}); }
};

/// A branch for each passage; the mean of their logits, which is the normalised geometric mean of their distributions.
/// Source    FlashBack (arXiv 2405.04065), test_multiple_k.py of the official code
struct MeanOfLogits {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { detail::one_group_each(passages, out); }

    void operator()(const LogitRows& rows, std::span<float> out) const {
        const auto count = static_cast<double>(rows.size());
        for (std::size_t v = 0; v < out.size(); ++v) {
            double sum = 0;
            for (std::size_t r = 0; r < rows.size(); ++r) sum += static_cast<double>(rows[r][v]);
            out[v] = static_cast<float>(sum / count);
        }
    }
};

namespace detail {

inline constexpr Concatenate without_fusion{};

/// Distributions, weighted, summed.
class Mixture {
public:
    /// The weights from now on: e to these numbers, normalised.
    void weigh(std::span<const double> logs) {
        logs_.assign(logs.begin(), logs.end());
        normalise();
    }

    /// ln of the weighted sum of the distributions.
    void mix(const LogitRows& rows, std::span<float> out) {
        FLASHBACK_ASSERT(rows.size() == logs_.size(), "a mixture of ", logs_.size(), " passages was given the logits of ",
                         rows.size(), " branches");
        sum_.assign(out.size(), 0);
        exps_.resize(out.size());
        for (std::size_t r = 0; r < rows.size(); ++r) {
            const std::span<const float> row = rows[r];
            const double most = static_cast<double>(*std::ranges::max_element(row));
            double total = 0;
            for (std::size_t v = 0; v < row.size(); ++v) {
                exps_[v] = exp_of_negative(static_cast<double>(row[v]) - most);
                total += exps_[v];
            }
            const double weight = exp_of_negative(logs_[r]) / total;
            for (std::size_t v = 0; v < row.size(); ++v) sum_[v] += rounded(weight * exps_[v]);
        }
        for (std::size_t v = 0; v < out.size(); ++v) {
            // 0: masked, or less than a double has; a NaN stays one.
            out[v] = static_cast<float>(sum_[v] == 0          ? minus_infinity
                                        : std::isnan(sum_[v]) ? sum_[v]
                                                              : log_of_positive(sum_[v]));
        }
    }

    /// Bayes: a branch that found the token likelier weighs more from now on.
    void learn(const LogitRows& rows, TokenId token) {
        for (std::size_t r = 0; r < rows.size(); ++r) {
            const SoftmaxTotal all = softmax_total(rows[r]);
            logs_[r] += static_cast<double>(rows[r][static_cast<std::size_t>(token)]) - all.most - log_of_positive(all.total);
        }
        normalise();
    }

private:
    void normalise() {
        if (logs_.empty()) return;
        const double most = *std::ranges::max_element(logs_);
        double total = 0;
        for (double& log : logs_) {
            log -= most;
            total += exp_of_negative(log);
        }
        const double all = log_of_positive(total);
        for (double& log : logs_) log -= all;
    }

    std::vector<double> logs_;  // ln of each weight
    std::vector<double> sum_;
    std::vector<double> exps_;
};

/// Scores of passages divided by a temperature.
/// Throws    Error{contract}
inline std::vector<double> tempered(std::span<const float> scores, double temperature) {
    std::vector<double> logs;
    for (const float score : scores) {
        FLASHBACK_ASSERT(std::isfinite(score), "passage ", logs.size(), " has the score ", score,
                         ", expected a finite number to weigh it by");
        logs.push_back(static_cast<double>(score) / temperature);
    }
    return logs;
}

/// Throws    Error{contract}
inline void check_temperature(double temperature) {
    FLASHBACK_ASSERT(temperature > 0 && temperature <= std::numeric_limits<double>::max(),
                     "the temperature of scores is a finite number above 0, found ", temperature);
}

}  // namespace detail

/// A branch for each passage; p(y | x) = sum over d of w(d) p(y | d, x) at each token, where w is the softmax of the scores of the
/// retriever. Scores of BM25 are far apart, so that the best passage may have nearly all weight: a temperature above 1 levels them.
/// Source    Shi et al. 2023, REPLUG (arXiv 2301.12652), section 3.2; Lewis et al. 2020 (arXiv 2005.11401), RAG-Token
class WeightedMixture {
public:
    /// Throws    Error{contract} if `temperature` is no finite number above 0
    explicit WeightedMixture(double temperature = 1) : temperature_(temperature) { detail::check_temperature(temperature); }

    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { detail::one_group_each(passages, out); }
    void begin(std::span<const float> scores) { mixture_.weigh(detail::tempered(scores, temperature_)); }
    void operator()(const LogitRows& rows, std::span<float> out) { mixture_.mix(rows, out); }

protected:
    detail::Mixture mixture_;  ///< the weights of the passages

private:
    double temperature_;
};

/// A branch for each passage; p(y) = sum over d of w(d) times the product of p(y_i | d, y_<i) over all tokens since the passages were
/// found: a passage stands for the whole of them. By the chain rule each token has the distribution of WeightedMixture, where the weight
/// of a passage has been multiplied by the probability of what was written since. Tokens are taken one by one from this exact
/// distribution; a search over whole texts (the paper's decoding by beams) is not done.
/// Source    Lewis et al. 2020 (arXiv 2005.11401), RAG-Sequence
class RagSequence : public WeightedMixture {
public:
    /// Throws    Error{contract} if `temperature` is no finite number above 0
    explicit RagSequence(double temperature = 1) : WeightedMixture(temperature) {}

    void took(const LogitRows& rows, TokenId token) { mixture_.learn(rows, token); }
};

/// The fusion of policies; those that have no slot for one read all passages in one text.
template <class P>
auto& fusion_of(P& policies) {
    if constexpr (requires { policies.fusion(); }) {
        return policies.fusion();
    } else {
        return detail::without_fusion;
    }
}

/// Two branches, with all passages and with none: (1 + alpha) l(y | passages, x) - alpha l(y | x). What the passages made likelier becomes
/// likelier still.
/// Source    Shi et al. 2023, Context-aware decoding (arXiv 2305.14739), equation 3; alpha 0.5 and 1 there
class ContrastWithout {
public:
    /// Throws    Error{contract} if `alpha` is negative or not finite
    constexpr explicit ContrastWithout(double alpha = 0.5, bool joined = false) : alpha_(alpha), joined_(joined) {
        FLASHBACK_ASSERT(alpha >= 0 && alpha <= std::numeric_limits<double>::max(),
                         "the alpha of context-aware decoding is a finite number from 0, found ", alpha);
    }

    void groups(std::size_t passages, std::vector<PassageGroup>& out) const {
        out.push_back({0, passages, joined_});
        if (passages > 0) out.push_back({});
    }

    void operator()(const LogitRows& rows, std::span<float> out) const {
        for (std::size_t v = 0; v < out.size(); ++v) {
            const auto with = static_cast<double>(rows[0][v]);
            const auto without = static_cast<double>(rows[1][v]);
            const bool masked = with == detail::minus_infinity || without == detail::minus_infinity;
            out[v] = static_cast<float>(masked ? detail::minus_infinity : with + detail::rounded(alpha_ * (with - without)));
        }
    }

private:
    double alpha_;
    bool joined_;
};

}  // namespace flashback::inline FLASHBACK_ISA

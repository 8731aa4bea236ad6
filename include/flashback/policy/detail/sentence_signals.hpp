/// \file What DRAGIN gathers of a sentence while it is written.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/policy/detail/attended_words.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// For each token of a sentence: the entropy of what it was taken from, what the position in front of it read of the text, and what the
/// positions of the sentence read of it. All of it can be taken back token by token.
class SentenceSignals {
public:
    void reset() {
        begin_ = 0;
        clear();
        entropies_.reserve(64);
        reads_.reserve(64);
    }

    /// Generated tokens in front of the first that it knows.
    std::size_t begin() const noexcept { return begin_; }
    /// How many tokens it knows.
    std::size_t size() const noexcept { return entropies_.size(); }
    /// Whether it knows the newest of so many generated tokens.
    bool know(std::size_t generated) const noexcept { return size() > 0 && begin_ + size() == generated; }

    /// Forgets all but the oldest tokens of the generated text.
    void keep(std::size_t generated) {
        const std::size_t left = std::min(size(), generated - std::min(begin_, generated));
        if (left == size()) return;
        read_.resize(reads_[left].first);
        received_.resize(reads_[left].received);
        reads_.resize(left);
        entropies_.resize(left);
    }

    /// Looks at the newest token, of a sentence that begins after so many generated ones.
    void look(const StepView& step, std::size_t sentence) {
        if (begin_ < sentence ||
            begin_ + size() + 1 != step.generated()) {  // another sentence, or one whose begin it did not see
            clear();
            begin_ = step.generated() - 1;
        }
        const AttentionWeights weights = last_layer(step);
        reads_.push_back({read_.size(), received_.size()});
        read_of_text(step, weights, read_);
        const std::span<const std::size_t> places =
            step.attention->places.subspan(step.context.size() - 1 - size(), size());  // of the tokens in front of the newest
        heads_ = weights.heads;
        for (const std::size_t place : places)
            for (std::size_t h = 0; h < heads_; ++h)
                received_.push_back(place < weights.positions() ? weights.head(h)[place] : 0.0f);
        entropies_.push_back(step.entropy());
    }

    /// The first token of the first content word whose score is above a threshold; `size()` if there is none. `sentence` is the place of
    /// the sentence in the text that `words` knows.
    std::size_t first_above(double threshold, std::size_t sentence, const TextWords& words) {
        weights_.assign(size(), 0.0);
        double total = 0;
        for (std::size_t token = 0; token + 1 < size(); ++token) {
            for (std::size_t h = 0; h < heads_; ++h) {
                float most = 0;
                for (std::size_t reader = token + 1; reader < size(); ++reader)
                    most = std::max(most, received_[reads_[reader].received + token * heads_ + h]);
                weights_[token] += static_cast<double>(most) / static_cast<double>(heads_);
            }
            total += weights_[token];
        }
        if (!(total > 0)) return size();
        double count = 0;
        for (std::size_t first = 0; first < size(); first = word_end(first, sentence, words)) ++count;
        for (std::size_t first = 0, end = 0; first < size(); first = end) {
            end = word_end(first, sentence, words);
            double weight = 0;
            double entropy = 0;
            for (std::size_t token = first; token < end; ++token) {
                weight += weights_[token];
                entropy += entropies_[token] / static_cast<double>(end - first);
            }
            if (count * entropy * weight / total > threshold && words.any_counts(sentence + first, sentence + end))
                return first;
        }
        return size();
    }

    /// What the position in front of a token read of each token of the text in front of it.
    std::span<const float> read_before(std::size_t token) const noexcept {
        const std::size_t end = token + 1 < size() ? reads_[token + 1].first : read_.size();
        return std::span{read_}.subspan(reads_[token].first, end - reads_[token].first);
    }

private:
    /// Where the row of a token begins in `read_` and in `received_`.
    struct Row {
        std::size_t first;
        std::size_t received;
    };

    void clear() noexcept {
        entropies_.clear();
        reads_.clear();
        read_.clear();
        received_.clear();
    }

    std::size_t word_end(std::size_t first, std::size_t sentence, const TextWords& words) const noexcept {
        return words.word_end(sentence + first, sentence + size()) - sentence;
    }

    std::size_t begin_ = 0;
    std::size_t heads_ = 0;
    std::vector<double> entropies_;
    std::vector<Row> reads_;
    std::vector<float> read_;      // for each token: what the position in front of it read of each token of the text
    std::vector<float> received_;  // for each token: what that position read of each token of the sentence, (tokens, heads)
    std::vector<double> weights_;  // what is read of each token
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

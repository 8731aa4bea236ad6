/// \file Second differences of entropy, smoothed, for ETC.
#pragma once

#include "flashback/core/config.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Series of entropies, one after the other, each with its second differences and their running mean. All of it can be taken back.
class EntropySeries {
public:
    void reset() {
        begins_.clear();
        words_.clear();
        words_.reserve(256);
    }

    /// Keeps what is known of the oldest tokens.
    void keep(std::size_t tokens) {
        while (!words_.empty() && words_.back().token > tokens) words_.pop_back();
        while (!begins_.empty() && begins_.back() > tokens) begins_.pop_back();
    }

    /// A series begins after so many tokens.
    void begin_anew(std::size_t tokens) {
        if (begins_.empty() || begins_.back() != tokens) begins_.push_back(tokens);
    }

    /// The entropy of a word, which is the newest token of so many.
    void add(std::size_t token, double entropy) {
        Word word{token, 1, entropy, 0, 0, 0};
        if (!words_.empty() && words_.back().token > (begins_.empty() ? 0 : begins_.back())) {
            const Word& last = words_.back();
            word.number = last.number + 1;
            if (word.number > 2) {
                word.difference = entropy - 2 * last.entropy + words_[words_.size() - 2].entropy;
                word.sum = last.sum + word.difference;
                const double mean = word.sum / static_cast<double>(word.number - 2);
                const double of_this = std::fabs(word.difference - mean);
                const double of_last = std::fabs(last.difference - mean);
                const double weight = of_this + of_last > 0 ? of_last / (of_this + of_last) : 1;
                word.smoothed = weight * word.difference + (1 - weight) * last.difference;
            }
        }
        words_.push_back(word);
    }

    /// The smoothed second difference at the newest word; 0 at the first two of a series.
    double smoothed() const noexcept { return words_.empty() ? 0 : words_.back().smoothed; }

private:
    struct Word {
        std::size_t token;
        std::size_t number;  // in its series, from 1
        double entropy;
        double difference;
        double sum;  // of differences
        double smoothed;
    };

    std::vector<Word> words_;
    std::vector<std::size_t> begins_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

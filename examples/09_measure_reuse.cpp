/// \file What reuse of keys and values is worth in a runtime that is not ours: the sweep of `flashback bench --mode reuse`, and its table
/// as comma-separated values.
#include "flashback/measure/reuse_sweep.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <span>
#include <vector>

namespace fb = flashback;

namespace {

/// The foreign engine. It computes nothing but a token's worth of work for each position that the token reads.
class ForeignEngine {
public:
    std::span<const float> evaluate(fb::TokenSpan tokens) {
        for (const fb::TokenId token : tokens) {
            cache_.push_back(static_cast<float>(token));
            float sum = 0;
            for (const float held : cache_) sum += held * cache_.back();
            logits_[static_cast<std::size_t>(token)] = sum;
        }
        return logits_;
    }
    void truncate(std::size_t length) { cache_.resize(length); }
    std::size_t size() const { return cache_.size(); }
    std::size_t vocab_size() const { return logits_.size(); }
    std::size_t window() const { return 4096; }  // optional: what does not fit is left out, in words

private:
    std::vector<float> cache_;
    std::array<float, 100> logits_{};
};

}  // namespace

int main() {
    ForeignEngine engine;
    const fb::ReuseSweep sweep = fb::sweep_reuse(engine, {.base = {.history = 1024}, .how = {.repetitions = 1}});
    std::cout << "axis,way,history,stride,passage,k,evaluated_per_token,milliseconds_per_token\n";
    for (const fb::ReuseRow& row : sweep.rows) {
        std::cout << to_string(row.axis) << ',' << to_string(row.way) << ',' << row.at.history << ',' << row.at.stride << ','
                  << row.at.passage << ',' << row.at.k << ',' << row.evaluated_per_token() << ','
                  << 1000 * row.seconds_per_token() << '\n';
    }
    for (const auto& sentence : sweep.left_out) std::cerr << sentence << '\n';
    std::cerr << sentence_of(fb::append_wins_from(sweep.rows)) << '\n';

    for (const fb::ReuseRow& row : sweep.rows) {  // the plan decides what is evaluated, whatever the engine
        if (row.counts != fb::predicted_counts(row.way, row.at)) {
            std::cerr << "09_measure_reuse: another number of tokens was evaluated than the lengths say\n";
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

/// \file The shortest way to a schedule of your own. It needs no model and no search engine, and nothing is linked:
///
///     g++ -std=c++20 -Iinclude examples/15_first_schedule.cpp -o build/first_schedule && build/first_schedule
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/testing/null_model.hpp"

#include <iostream>
#include <vector>

namespace fb = flashback;

/// Retrieves before the first token, and after each sentence of 8 tokens or more.
struct AfterSentences {
    fb::TokenId full_stop;

    bool operator()(const fb::StepView& step) const {
        if (step.generated() == 0) return true;
        return step.last_token() == full_stop && step.since_retrieval >= 8;
    }
};

int main() {
    fb::testing::NullModel model{/*vocab=*/20};  // costs nothing, and writes something
    fb::testing::NullRetriever search{/*passage_tokens=*/50, /*vocab=*/20};
    fb::Decoder decoder{model, search, fb::Policies{}.schedule(AfterSentences{.full_stop = 7})};

    const std::vector<fb::TokenId> prompt{3, 1, 4, 1, 5};
    const fb::Generation run = decoder.generate(prompt, {.max_tokens = 100});
    for (const fb::Retrieval& retrieval : run.retrievals)
        std::cout << "retrieved after " << retrieval.at << " tokens: evaluated " << retrieval.counts.evaluated << ", reused "
                  << retrieval.counts.reused << '\n';
    return run.retrievals.size() > 1 ? 0 : 1;
}

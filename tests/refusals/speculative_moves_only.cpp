// Refused: flashback: a SpeculativeDecoder copies its policies, to go back to where they were: each must be copyable
#include "generate.hpp"

#include "flashback/decoder/speculative_decoder.hpp"

#include <memory>
#include <utility>

using namespace flashback;

struct Guesses : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    static constexpr bool remembers_queries = false;
    std::span<const Passage> speculate(const Query& query, std::size_t k) { return retrieve(query, k); }
};

struct MovesOnly {
    std::unique_ptr<int> state = {};
    bool operator()(const StepView& step) const { return step.retrievals == 0; }
};

int main() {
    testing::NullModel model{8};
    Guesses retriever{4, 8};
#ifdef WRONG
    SpeculativeDecoder decoder{model, retriever, Policies{}.schedule(MovesOnly{})};
#else
    SpeculativeDecoder decoder{model, retriever, Policies{}.schedule(Once{})};
#endif
    decoder.generate({});
}

// Refused: flashback: a SpeculativeDecoder needs a retriever that guesses, with speculate(const Query&, std::size_t k): SeenPassages around it has that
#include "generate.hpp"

#include "flashback/decoder/speculative_decoder.hpp"

using namespace flashback;

struct Guesses : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    static constexpr bool remembers_queries = false;
    std::span<const Passage> speculate(const Query& query, std::size_t k) { return retrieve(query, k); }
};

int main() {
    testing::NullModel model{8};
    [[maybe_unused]] testing::NullRetriever wrong{4, 8};
    [[maybe_unused]] Guesses right{4, 8};
#ifdef WRONG
    SpeculativeDecoder decoder{model, wrong};
#else
    SpeculativeDecoder decoder{model, right};
#endif
    decoder.generate({});
}

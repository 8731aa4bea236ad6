// Refused: flashback: a SpeculativeDecoder also searches for texts that it takes back, but the answers of this retriever depend on the queries before
#include "generate.hpp"

#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/retrieval/accumulated.hpp"
#include "flashback/retrieval/seen_passages.hpp"

#include <functional>

using namespace flashback;

struct Search : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    static constexpr bool remembers_queries = false;
};

int main() {
    testing::NullModel model{8};
    Search retriever{4, 8};
    const auto score = [](const Query&, const Passage& passage) { return passage.score; };
    [[maybe_unused]] SeenPassages wrong{Accumulated{std::ref(retriever)}, score};
    [[maybe_unused]] SeenPassages right{std::ref(retriever), score};
#ifdef WRONG
    SpeculativeDecoder decoder{model, wrong};
#else
    SpeculativeDecoder decoder{model, right};
#endif
    decoder.generate({});
}

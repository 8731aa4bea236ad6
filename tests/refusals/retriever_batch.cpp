// Refused: flashback: retrieve_batch of a Retriever must take (std::span<const Query>, std::size_t k) and return a range of ranges of Passage
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::vector<Passage> retrieve_batch(std::span<const Query> queries, std::size_t k);
};

struct Right : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k);
};

int main() {
    testing::NullModel model{8};
    [[maybe_unused]] Wrong wrong{4, 8};
    [[maybe_unused]] Right right{4, 8};
#ifdef WRONG
    Decoder decoder{model, wrong};
#else
    Decoder decoder{model, right};
#endif
    decoder.generate({});
}

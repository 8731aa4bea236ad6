// Refused: flashback: speculate of a Retriever must take (const Query&, std::size_t k) and return a contiguous range of Passage, as retrieve does
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::vector<Passage> speculate(const Query& query);
};

struct Right : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::vector<Passage> speculate(const Query& query, std::size_t k);
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

// Refused: flashback: a Retriever with begin_batch or take_batch must have both: begin_batch(std::span<const Query>, std::size_t k), and take_batch(), which returns a range of ranges of Passage
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    void begin_batch(std::span<const Query> queries, std::size_t k);
    std::vector<Passage> take_batch();
};

struct Right : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    void begin_batch(std::span<const Query> queries, std::size_t k);
    std::vector<std::vector<Passage>> take_batch();
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

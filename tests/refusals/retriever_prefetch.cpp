// Refused: flashback: a Retriever with prefetch or ready must have both: prefetch(const Query&, std::size_t k), and ready() const, which returns bool
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    void prefetch(const Query& query, std::size_t k);
};

struct Right : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    void prefetch(const Query& query, std::size_t k);
    bool ready() const;
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

// Refused: flashback: work() of a Retriever must be const and return std::size_t: the tokens that it has evaluated, ever
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::size_t work();
};

struct Right : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    std::size_t work() const;
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

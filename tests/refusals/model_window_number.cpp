// Refused: flashback: window() of a LanguageModel must be const and return a whole number: the most positions it can hold
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    std::size_t window = 64;
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    std::size_t window() const { return 64; }
};

int main() {
    [[maybe_unused]] Wrong wrong{8};
    [[maybe_unused]] Right right{8};
    testing::NullRetriever retriever{4, 8};
#ifdef WRONG
    Decoder decoder{wrong, retriever};
#else
    Decoder decoder{right, retriever};
#endif
    decoder.generate({});
}

// Refused: flashback: work() of a LanguageModel must be const and return std::size_t: the tokens that it has evaluated, ever
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    int work() const;
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    std::size_t work() const;
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

// Refused: flashback: is_end(TokenId) of a LanguageModel must be const and return bool
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    int is_end(TokenId token) const;
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    bool is_end(TokenId token) const;
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

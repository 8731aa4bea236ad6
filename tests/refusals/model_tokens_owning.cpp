// Refused: flashback: tokens() of a LanguageModel must be const and return a TokenSpan of tokens that live on in the model
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    std::vector<TokenId> tokens() const;
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    std::span<const TokenId> tokens() const;
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

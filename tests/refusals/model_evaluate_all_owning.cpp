// Refused: flashback: evaluate_all(TokenSpan) of a LanguageModel must return a span of logits that live on in the model
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    std::vector<float> evaluate_all(TokenSpan);
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    std::span<const float> evaluate_all(TokenSpan);
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

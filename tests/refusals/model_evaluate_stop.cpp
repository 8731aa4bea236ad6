// Refused: flashback: evaluate(TokenSpan, std::stop_token) of a LanguageModel must return a span of logits that live on in the model, as evaluate(TokenSpan) does
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::evaluate;
    using NullModel::NullModel;
    std::vector<float> evaluate(TokenSpan tokens, std::stop_token stop);
};

struct Right : testing::NullModel {
    using NullModel::evaluate;
    using NullModel::NullModel;
    std::span<const float> evaluate(TokenSpan tokens, std::stop_token stop);
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

// Refused: flashback: a LanguageModel must have evaluate(TokenSpan), which returns a span of logits that live on in the model, truncate(std::size_t), and, const, size() and vocab_size()
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    double size() const;
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    int size() const;
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

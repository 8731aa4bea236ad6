// Refused: flashback: evaluate_each(std::span<Model* const>, std::span<const TokenSpan>) of a LanguageModel must be static
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    std::span<const float> evaluate_each(std::span<Wrong* const>, std::span<const TokenSpan>);
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    static std::span<const float> evaluate_each(std::span<Right* const>, std::span<const TokenSpan>);
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

// Refused: flashback: a LanguageModel must have evaluate(TokenSpan), which returns a span of logits that live on in the model, truncate(std::size_t), and, const, size() and vocab_size()
#include "generate.hpp"

using namespace flashback;

/// Cannot be cut back.
struct Endless {
    std::span<const float> evaluate(TokenSpan tokens);
    std::size_t size() const;
    std::size_t vocab_size() const;
};

int main() {
    [[maybe_unused]] Endless endless;
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
#ifdef WRONG
    Decoder decoder{endless, retriever};
#else
    Decoder decoder{model, retriever};
#endif
    decoder.generate({});
}

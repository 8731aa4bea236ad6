// Refused: flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a contiguous range of Passage, such as a vector or a span
#include "generate.hpp"

using namespace flashback;

/// Gives texts without tokens.
struct Texts {
    static std::span<const std::string> retrieve(const Query&, std::size_t) { return {}; }
};

int main() {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    [[maybe_unused]] Texts texts;
#ifdef WRONG
    Decoder decoder{model, texts};
#else
    Decoder decoder{model, retriever};
#endif
    decoder.generate({});
}

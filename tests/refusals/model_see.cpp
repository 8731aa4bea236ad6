// Refused: flashback: a LanguageModel with passages beside its text must have block(TokenSpan tokens, std::size_t sees, std::size_t first_position)
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    int see(std::size_t);
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    int block(TokenSpan, std::size_t, std::size_t);
    void see(const std::vector<int>&);
    std::size_t plain_size() const;
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

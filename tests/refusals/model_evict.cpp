// Refused: flashback: evict of a LanguageModel must be callable as evict(std::size_t first, std::size_t count), and it must have, const, can_evict()
#include "generate.hpp"

using namespace flashback;

struct Wrong : testing::NullModel {
    using NullModel::NullModel;
    void evict(std::size_t, std::size_t);
};

struct Right : testing::NullModel {
    using NullModel::NullModel;
    void evict(std::size_t, std::size_t);
    bool can_evict() const;
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

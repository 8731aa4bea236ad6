// Refused: flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a contiguous range of Passage, such as a vector or a span
#include "flashback/core/any_retriever.hpp"
#include "flashback/testing/null_model.hpp"

using namespace flashback;

/// Gives texts without tokens.
struct Texts {
    static std::span<const std::string> retrieve(const Query&, std::size_t) { return {}; }
};

int main() {
#ifdef WRONG
    AnyRetriever retriever{Texts{}};
#else
    AnyRetriever retriever{testing::NullRetriever{4, 8}};
#endif
    retriever.retrieve({}, 1);
}

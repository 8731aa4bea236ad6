// Refused: flashback: a Retriever with prefetch or ready must have both: prefetch(const Query&, std::size_t k), and ready() const, which returns bool
#include "flashback/core/any_retriever.hpp"
#include "flashback/testing/null_model.hpp"

using namespace flashback;

struct Wrong : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    bool ready() const;
};

struct Right : Wrong {
    using Wrong::Wrong;
    void prefetch(const Query& query, std::size_t k);
};

int main() {
#ifdef WRONG
    AnyRetriever retriever{Wrong{4, 8}};
#else
    AnyRetriever retriever{Right{4, 8}};
#endif
    retriever.retrieve({}, 1);
}

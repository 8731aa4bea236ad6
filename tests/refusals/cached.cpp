// Refused: flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a contiguous range of Passage, such as a vector or a span
#include "flashback/retrieval/cached.hpp"

using namespace flashback;

struct Wrong {
    int retrieve(const Query& query, std::size_t k);
};

int main() {
#ifdef WRONG
    Cached cached{Wrong{}};
#else
    Cached cached{NoPassages{}};
#endif
    cached.retrieve({}, 1);
}

// Refused: flashback: on_token(TokenId) must return nothing, or bool: false cancels the generation
#include "generate.hpp"

#include <cstdio>

using namespace flashback;

int main() {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    Decoder decoder{model, retriever};
#ifdef WRONG
    decoder.generate({}, {}, [](TokenId token) { return std::printf("%d", token); });
#else
    decoder.generate({}, {}, [](TokenId token) { return std::printf("%d", token) > 0; });
#endif
}

// Refused: flashback: rewind of on_token is called as rewind(std::size_t tokens) when tokens are taken back: this one cannot be
#include "generate.hpp"

using namespace flashback;

struct Wrong {
    void operator()(TokenId token);
    void rewind();
};

struct Right {
    void operator()(TokenId token);
    void rewind(std::size_t tokens);
};

int main() {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    Decoder decoder{model, retriever};
#ifdef WRONG
    decoder.generate({}, {}, Wrong{});
#else
    decoder.generate({}, {}, Right{});
#endif
}

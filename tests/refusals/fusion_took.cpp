// Refused: flashback: took of a DocumentFusion is called as took(const LogitRows&, TokenId) when the text goes on with a token: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : MeanOfLogits {
    void took(TokenId token);
};

struct Right : MeanOfLogits {
    void took(const LogitRows& rows, TokenId token);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.fusion(Wrong{});
#else
    const auto policies = Policies{}.fusion(Right{});
#endif
    static_cast<void>(policies);
}

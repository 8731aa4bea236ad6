// Refused: flashback: rewind of a policy is called as rewind(std::size_t tokens) when tokens are taken back: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NeverStop {
    void rewind(TokenSpan tokens);
};

struct Right : NeverStop {
    void rewind(std::size_t tokens);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping(Wrong{});
#else
    const auto policies = Policies{}.stopping(Right{});
#endif
    static_cast<void>(policies);
}

// Refused: flashback: wrapper of a method must be const, and callable as a MarkerWrapper is
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    void wrapper(TokenSpan passage, TokenBuffer& out);
};

struct Right {
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

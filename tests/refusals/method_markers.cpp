// Refused: flashback: markers() of a method must be const and return a TokenSpan of ids that live on in the method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
    TokenBuffer markers() const;
};

struct Right {
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
    TokenSpan markers() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

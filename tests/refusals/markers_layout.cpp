// Refused: flashback: markers() of a policy is called in the slot of the wrapper, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : AppendPassages {
    TokenSpan markers() const;
};

struct Right : NoMarkers {
    TokenSpan markers() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.layout(Wrong{});
#else
    const auto policies = Policies{}.wrapper(Right{});
#endif
    static_cast<void>(policies);
}

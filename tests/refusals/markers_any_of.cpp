// Refused: flashback: markers() of a policy is called in the slot of the wrapper, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    TokenSpan markers() const;
};

struct Right : Once {
    TokenBuffer markers;  // an object of its own, which nobody calls
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(any_of(Never{}, Wrong{}));
#else
    const auto policies = Policies{}.schedule(any_of(Never{}, Right{}));
#endif
    static_cast<void>(policies);
}

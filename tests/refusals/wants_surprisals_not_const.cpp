// Refused: flashback: wants_surprisals() of a policy must be const and return bool
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    bool wants_surprisals();
};

struct Right : Once {
    bool wants_surprisals() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

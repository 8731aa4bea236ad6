// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NoMarkers {
    void reset(int seed);
};

struct Right : NoMarkers {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(Wrong{});
#else
    const auto policies = Policies{}.wrapper(Right{});
#endif
    static_cast<void>(policies);
}

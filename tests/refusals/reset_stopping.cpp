// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NeverStop {
    void reset(int seed);
};

struct Right : NeverStop {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping(Wrong{});
#else
    const auto policies = Policies{}.stopping(Right{});
#endif
    static_cast<void>(policies);
}

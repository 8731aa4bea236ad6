// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : StopWhenFull {
    void reset(int seed);
};

struct Right : StopWhenFull {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.overflow(Wrong{});
#else
    const auto policies = Policies{}.overflow(Right{});
#endif
    static_cast<void>(policies);
}

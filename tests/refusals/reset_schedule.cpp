// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    void reset(int seed);
};

struct Right : Once {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Greedy {
    void reset(int seed);
};

struct Right : Greedy {
    void reset(int seed = 1);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler(Wrong{});
#else
    const auto policies = Policies{}.sampler(Right{});
#endif
    static_cast<void>(policies);
}

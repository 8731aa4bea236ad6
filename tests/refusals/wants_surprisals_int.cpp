// Refused: flashback: wants_surprisals() of a policy must be const and return bool
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Greedy {
    int wants_surprisals() const;
};

struct Right : Greedy {
    bool wants_surprisals() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler(Wrong{});
#else
    const auto policies = Policies{}.sampler(Right{});
#endif
    static_cast<void>(policies);
}

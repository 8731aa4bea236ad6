// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : KeepCommonPrefix {
    void reset(int seed);
};

struct Right : KeepCommonPrefix {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.reuse(Wrong{});
#else
    const auto policies = Policies{}.reuse(Right{});
#endif
    static_cast<void>(policies);
}

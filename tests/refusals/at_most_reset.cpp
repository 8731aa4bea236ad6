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
    const auto schedule = at_most(3, Wrong{});
#else
    const auto schedule = at_most(3, Right{});
#endif
    static_cast<void>(Policies{}.schedule(schedule));
}

// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

struct Wrong : Once {
    void reset(int seed);
};

struct Right : Once {
    void reset();
};

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnySchedule chosen{Wrong{}};
#else
    [[maybe_unused]] const AnySchedule chosen{Right{}};
#endif
}

// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/any_policy.hpp"

#include <functional>

using namespace flashback;

struct Wrong : Once {
    void reset(int seed);
};

struct Right : Once {
    void reset();
};

int main() {
    [[maybe_unused]] Wrong wrong;
    [[maybe_unused]] Right right;
#ifdef WRONG
    [[maybe_unused]] const AnySchedule chosen{std::ref(wrong)};
#else
    [[maybe_unused]] const AnySchedule chosen{std::ref(right)};
#endif
}

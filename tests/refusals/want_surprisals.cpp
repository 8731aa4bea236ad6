// Refused: flashback: the optional member of a policy that asks for surprisals is written wants_surprisals(): this one would never be called
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    static bool want_surprisals();
};

struct Right : Once {
    static bool wants_surprisals();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

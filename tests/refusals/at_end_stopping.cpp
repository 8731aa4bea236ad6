// Refused: flashback: at_end of a policy is called in the slot of the schedule, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NeverStop {
    Decision at_end(const StepView& step, StopReason reason);
};

struct Right : Once {
    Decision at_end(const StepView& step, StopReason reason);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

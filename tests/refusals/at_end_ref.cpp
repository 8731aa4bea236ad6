// Refused: flashback: at_end of a policy is called in the slot of the schedule, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

#include <functional>

using namespace flashback;

struct Wrong {
    TokenSpan operator()(const StepView& step) const;
    Decision at_end(const StepView& step, StopReason reason);
};

struct Right : Once {
    Decision at_end(const StepView& step, StopReason reason);
};

int main() {
    Wrong wrong;
    Right right;
#ifdef WRONG
    const auto policies = Policies{}.query(std::ref(wrong));
#else
    const auto policies = Policies{}.schedule(any_of(Once{}, std::ref(right)));
#endif
    static_cast<void>(policies);
    static_cast<void>(wrong);
    static_cast<void>(right);
}

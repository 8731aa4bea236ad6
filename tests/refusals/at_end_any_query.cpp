// Refused: flashback: at_end of a policy is called in the slot of the schedule, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

struct Wrong : LastNTokens {
    using LastNTokens::LastNTokens;
    Decision at_end(const StepView& step, StopReason reason);
};

struct Right : LastNTokens {
    using LastNTokens::LastNTokens;
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.query(AnyQuery{Wrong{8}});
#else
    const auto policies = Policies{}.query(AnyQuery{Right{8}});
#endif
    static_cast<void>(policies);
}

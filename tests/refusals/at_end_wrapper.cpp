// Refused: flashback: at_end of a policy is called in the slot of the schedule, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NoMarkers {
    Decision at_end(const StepView& step, StopReason reason);
};

struct Right {
    Decision schedule(const StepView& step) const;
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
    Decision at_end(const StepView& step, StopReason reason);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

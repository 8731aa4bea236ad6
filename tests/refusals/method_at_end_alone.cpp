// Refused: flashback: at_end of a method is called if it fills the slot of the schedule: this one has no member schedule
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    TokenSpan query(const StepView& step) const;
    Decision at_end(const StepView& step, StopReason reason);
};

struct Right {
    TokenSpan query(const StepView& step) const;
    bool schedule(const StepView& step) const;
    Decision at_end(const StepView& step, StopReason reason);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

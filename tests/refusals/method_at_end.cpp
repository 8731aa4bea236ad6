// Refused: flashback: at_end of a method is called as at_end(const StepView&, StopReason) and must return Decision
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    bool schedule(const StepView& step) const;
    void at_end(const StepView& step, StopReason reason);
};

struct Right {
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

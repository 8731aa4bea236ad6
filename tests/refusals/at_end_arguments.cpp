// Refused: flashback: at_end of a RetrievalSchedule is called as at_end(const StepView&, StopReason) and must return Decision
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    Decision at_end(const StepView& step);
};

struct Right : Once {
    Decision at_end(const StepView& step, StopReason reason);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

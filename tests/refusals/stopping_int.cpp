// Refused: flashback: a StoppingCriterion must be callable as stopping(const StepView&) and return bool
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping([](const StepView& step) { return step.last_token() == 2 ? 1 : 0; });
#else
    const auto policies = Policies{}.stopping([](const StepView& step) { return step.last_token() == 2; });
#endif
    static_cast<void>(policies);
}

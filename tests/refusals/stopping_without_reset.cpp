// Refused: flashback: a StoppingCriterion whose call is not const must have reset(), or a second generation would start with what the first one left
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping([asked = 0](const StepView&) mutable { return ++asked == 16; });
#else
    const auto policies = Policies{}.stopping([](const StepView& step) { return step.generated() == 16; });
#endif
    static_cast<void>(policies);
}

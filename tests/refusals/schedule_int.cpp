// Refused: flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule([](const StepView& step) { return step.generated() % 16 == 0 ? 1 : 0; });
#else
    const auto policies = Policies{}.schedule([](const StepView& step) { return step.generated() % 16 == 0; });
#endif
    static_cast<void>(policies);
}

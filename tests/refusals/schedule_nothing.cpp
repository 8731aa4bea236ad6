// Refused: flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule([](const StepView&) {});
#else
    const auto policies = Policies{}.schedule([](const StepView&) { return Decision::go_on(); });
#endif
    static_cast<void>(policies);
}

// Refused: flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule([](TokenSpan context) { return context.size() > 9; });
#else
    const auto policies = Policies{}.schedule([](const StepView& step) { return step.context.size() > 9; });
#endif
    generate_with(policies);
}

// Refused: flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnySchedule chosen{[](TokenSpan context) { return context.size() > 9; }};
#else
    [[maybe_unused]] const AnySchedule chosen{[](const StepView& step) { return step.context.size() > 9; }};
#endif
}

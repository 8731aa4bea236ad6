// Refused: flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query, tokens or text
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.query([](const StepView& step) { return step.last_token(); });
#else
    const auto policies = Policies{}.query([](const StepView& step) { return step.context.last(1); });
#endif
    static_cast<void>(policies);
}

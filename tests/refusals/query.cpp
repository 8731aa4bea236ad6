// Refused: flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query, tokens or text
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.query([](const StepView& step) { return step.context.size(); });
#else
    const auto policies = Policies{}.query([](const StepView& step) { return Query{step.context}; });
#endif
    generate_with(policies);
}

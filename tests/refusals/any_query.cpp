// Refused: flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query, tokens or text
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyQuery chosen{[](const StepView& step) { return step.context.size(); }};
#else
    [[maybe_unused]] const AnyQuery chosen{[](const StepView& step) { return Query{step.context}; }};
#endif
}

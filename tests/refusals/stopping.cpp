// Refused: flashback: a StoppingCriterion must be callable as stopping(const StepView&) and return bool
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.stopping([](TokenId token) { return token == 2; });
#else
    const auto policies = Policies{}.stopping([](const StepView& step) { return step.last_token() == 2; });
#endif
    generate_with(policies);
}

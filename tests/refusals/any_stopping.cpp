// Refused: flashback: a StoppingCriterion must be callable as stopping(const StepView&) and return bool
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyStopping chosen{[](TokenId token) { return token == 2; }};
#else
    [[maybe_unused]] const AnyStopping chosen{[](const StepView& step) { return step.last_token() == 2; }};
#endif
}

// Refused: flashback: stopping of a method must be callable as a StoppingCriterion is
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    int stopping(const StepView& step) const;
};

struct Right {
    bool stopping(const StepView& step) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

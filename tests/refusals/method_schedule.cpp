// Refused: flashback: schedule of a method must be callable as schedule(const StepView&) and return bool or Decision
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    int schedule(const StepView& step) const;
};

struct Right {
    bool schedule(const StepView& step) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

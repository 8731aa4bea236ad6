// Refused: flashback: a method must have members that are named for the slots that it fills: schedule, query, wrapper, layout, reuse, sampler, overflow, stopping
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    bool operator()(const StepView& step) const;
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

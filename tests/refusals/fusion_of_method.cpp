// Refused: flashback: fusion of a method would never be called: a DocumentFusion is a policy of its own, for Policies::fusion
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    bool schedule(const StepView& step) const { return step.since_retrieval == 0; }
    void fusion() const;
};

struct Right {
    bool schedule(const StepView& step) const { return step.since_retrieval == 0; }
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

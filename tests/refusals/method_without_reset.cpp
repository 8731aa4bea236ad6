// Refused: flashback: a method whose schedule changes it must have reset(), or a second generation would start with what the first one left
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    bool schedule(const StepView& step);
};

struct Right {
    bool schedule(const StepView& step);
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

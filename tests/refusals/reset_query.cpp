// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Newest {
    TokenSpan operator()(const StepView& step) const;
};

struct Wrong : Newest {
    void reset(TokenSpan prompt);
};

struct Right : Newest {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.query(Wrong{});
#else
    const auto policies = Policies{}.query(Right{});
#endif
    static_cast<void>(policies);
}

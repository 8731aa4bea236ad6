// Refused: flashback: query of a method must be callable as query(const StepView&) and return Query, tokens or text
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    TokenBuffer query(TokenSpan context) const;
};

struct Right {
    TokenBuffer query(const StepView& step) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

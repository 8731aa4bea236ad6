// Refused: flashback: markers() of a policy is called in the slot of the wrapper, and never in this one: an object that fills several slots is a method, for Policies::method
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    TokenSpan markers();
};

struct Right {
    bool schedule(const StepView& step) const;
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
    TokenSpan markers() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

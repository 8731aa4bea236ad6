// Refused: flashback: markers() of a method is called if it fills the slot of the wrapper: this one has no member wrapper
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    bool schedule(const StepView& step) const;
    TokenSpan markers() const;
};

struct Right {
    bool schedule(const StepView& step) const;
    void wrapper(TokenSpan passage, TokenBuffer& out) const;
    TokenSpan markers() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

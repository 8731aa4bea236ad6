// Refused: flashback: seeing() of a ContextLayout must be const and return a whole number: how many of the newest tokens see the passages beside the text
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : AppendPassages {
    std::size_t seeing();
};

struct Right : AppendPassages {
    std::size_t seeing() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.layout(Wrong{});
#else
    const auto policies = Policies{}.layout(Right{});
#endif
    static_cast<void>(policies);
}

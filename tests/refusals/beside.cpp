// Refused: flashback: beside() of a ContextLayout must be const and return AsideOptions: how passages stand beside the text
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : AppendPassages {
    AsideOptions beside();
};

struct Right : AppendPassages {
    AsideOptions beside() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.layout(Wrong{});
#else
    const auto policies = Policies{}.layout(Right{});
#endif
    static_cast<void>(policies);
}

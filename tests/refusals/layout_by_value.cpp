// Refused: flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out), and return nothing
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.layout([](const LayoutParts& parts, TokenBuffer out) { append(out, parts.context); });
#else
    const auto policies = Policies{}.layout([](const LayoutParts& parts, TokenBuffer& out) { append(out, parts.context); });
#endif
    static_cast<void>(policies);
}

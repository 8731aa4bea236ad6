// Refused: flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out), and return nothing
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.layout([](TokenSpan head, TokenBuffer& out) { append(out, head); });
#else
    const auto policies = Policies{}.layout([](const LayoutParts& parts, TokenBuffer& out) { append(out, parts.context); });
#endif
    generate_with(policies);
}

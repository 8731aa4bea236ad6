// Refused: flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out), and return nothing
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyLayout chosen{[](TokenSpan head, TokenBuffer& out) { append(out, head); }};
#else
    [[maybe_unused]] const AnyLayout chosen{[](const LayoutParts& parts, TokenBuffer& out) { append(out, parts.context); }};
#endif
}

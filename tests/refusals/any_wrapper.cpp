// Refused: flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out)
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyWrapper chosen{[](TokenSpan passage) { return TokenBuffer(passage.begin(), passage.end()); }};
#else
    [[maybe_unused]] const AnyWrapper chosen{[](TokenSpan passage, TokenBuffer& out) { append(out, passage); }};
#endif
}

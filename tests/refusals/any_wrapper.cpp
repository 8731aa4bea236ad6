// Refused: flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out) or wrapper(const Passage&, std::size_t rank, TokenBuffer& out), and return nothing
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyWrapper chosen{[](TokenSpan passage) { return TokenBuffer(passage.begin(), passage.end()); }};
#else
    [[maybe_unused]] const AnyWrapper chosen{[](TokenSpan passage, TokenBuffer& out) { append(out, passage); }};
#endif
}

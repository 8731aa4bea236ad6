// Refused: flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out) or wrapper(const Passage&, std::size_t rank, TokenBuffer& out), and return nothing
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper([](TokenSpan passage, TokenBuffer out) { append(out, passage); });
#else
    const auto policies = Policies{}.wrapper([](TokenSpan passage, TokenBuffer& out) { append(out, passage); });
#endif
    static_cast<void>(policies);
}

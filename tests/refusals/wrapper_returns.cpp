// Refused: flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out) or wrapper(const Passage&, std::size_t rank, TokenBuffer& out), and return nothing
#include "flashback/policy/policies.hpp"

using namespace flashback;

/// Whoever returns tokens has written them nowhere.
struct Returns {
    TokenBuffer operator()(TokenSpan passage, TokenBuffer& out) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(Returns{});
#else
    const auto policies = Policies{}.wrapper(NoMarkers{});
#endif
    static_cast<void>(policies);
}

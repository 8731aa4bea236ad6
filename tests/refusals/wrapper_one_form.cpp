// Refused: flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out) or wrapper(const Passage&, std::size_t rank, TokenBuffer& out), and return nothing
#include "flashback/policy/policies.hpp"

using namespace flashback;

/// The call with the passage does not fit, and would be passed over for the other one.
struct HalfRight {
    void operator()(TokenSpan passage, TokenBuffer& out) const;
    TokenBuffer operator()(const Passage& passage, std::size_t rank, TokenBuffer& out) const;
};

struct Right {
    void operator()(TokenSpan passage, TokenBuffer& out) const;
    void operator()(const Passage& passage, std::size_t rank, TokenBuffer& out) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(HalfRight{});
#else
    const auto policies = Policies{}.wrapper(Right{});
#endif
    static_cast<void>(policies);
}

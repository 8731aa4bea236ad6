// Refused: flashback: markers() of a MarkerWrapper must be const and return a TokenSpan of ids that live on in the wrapper
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NoMarkers {
    std::array<TokenId, 2> markers() const { return {6, 7}; }
};

struct Right : NoMarkers {
    static constexpr std::array<TokenId, 2> ids{6, 7};
    TokenSpan markers() const { return ids; }
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(Wrong{});
#else
    const auto policies = Policies{}.wrapper(Right{});
#endif
    static_cast<void>(policies);
}

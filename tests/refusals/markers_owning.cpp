// Refused: flashback: markers() of a MarkerWrapper must be const and return a TokenSpan of ids that live on in the wrapper
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : NoMarkers {
    std::vector<TokenId> ids;
    std::vector<TokenId> markers() const { return ids; }
};

struct Right : NoMarkers {
    std::vector<TokenId> ids;
    const std::vector<TokenId>& markers() const { return ids; }
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.wrapper(Wrong{});
#else
    const auto policies = Policies{}.wrapper(Right{});
#endif
    static_cast<void>(policies);
}

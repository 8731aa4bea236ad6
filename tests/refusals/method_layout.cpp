// Refused: flashback: layout of a method must be const, and callable as layout(const LayoutParts&, TokenBuffer& out)
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    void layout(const LayoutParts& parts, TokenBuffer& out);
};

struct Right {
    void layout(const LayoutParts& parts, TokenBuffer& out) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

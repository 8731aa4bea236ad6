// Refused: flashback: seeing() of a ContextLayout must be const and return a whole number: how many of the newest tokens see the passages beside the text
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Beside {
#ifdef WRONG
    std::size_t seeing() { return 1; }
#else
    std::size_t seeing() const { return 1; }
#endif
    void operator()(const LayoutParts& parts, TokenBuffer& out) const { append(out, parts.context); }
};

int main() {
    [[maybe_unused]] const auto policies = Policies{}.layout(Beside{});
}

// Refused: flashback: reuse of a method must be const, and callable as a KVReuse is
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    int reuse(TokenSpan held, TokenSpan wanted) const;
};

struct Right {
    std::size_t reuse(TokenSpan held, TokenSpan wanted) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

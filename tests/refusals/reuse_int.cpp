// Refused: flashback: a KVReuse must be callable, when const, as reuse(TokenSpan held, TokenSpan wanted) and return std::size_t
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.reuse([](TokenSpan held, TokenSpan) { return held.empty() ? 0 : -1; });
#else
    const auto policies = Policies{}.reuse([](TokenSpan held, TokenSpan wanted) { return common_prefix(held, wanted); });
#endif
    static_cast<void>(policies);
}

// Refused: flashback: a KVReuse must be callable, when const, as reuse(TokenSpan held, TokenSpan wanted) and return std::size_t
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyReuse chosen{[](TokenSpan held) { return held.size(); }};
#else
    [[maybe_unused]] const AnyReuse chosen{[](TokenSpan held, TokenSpan wanted) { return common_prefix(held, wanted); }};
#endif
}

// Refused: flashback: an Overflow must be callable, when const, as overflow(const FullWindow&) and return the number of tokens to drop, as std::size_t
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnyOverflow chosen{[](std::size_t window) { return window / 2; }};
#else
    [[maybe_unused]] const AnyOverflow chosen{[](const FullWindow& full) { return full.context / 2; }};
#endif
}

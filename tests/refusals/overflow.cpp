// Refused: flashback: an Overflow must be callable, when const, as overflow(const FullWindow&) and return the number of tokens to drop, as std::size_t
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.overflow([](std::size_t window) { return window / 2; });
#else
    const auto policies = Policies{}.overflow([](const FullWindow& full) { return full.context / 2; });
#endif
    generate_with(policies);
}

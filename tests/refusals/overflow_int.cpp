// Refused: flashback: an Overflow must be callable, when const, as overflow(const FullWindow&) and return the number of tokens to drop, as std::size_t
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.overflow([](const FullWindow&) { return -1; });
#else
    const auto policies = Policies{}.overflow([](const FullWindow& full) { return full.context / 2; });
#endif
    static_cast<void>(policies);
}

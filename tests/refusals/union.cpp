// Refused: flashback: the rule of a Union must be callable, when const, as rule(std::span<const Passage>, std::span<double>)
#include "flashback/retrieval/union.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    Union both{[](std::span<const Passage>) {}, NoPassages{}, NoPassages{}};
#else
    Union both{[](std::span<const Passage>, std::span<double>) {}, NoPassages{}, NoPassages{}};
#endif
    both.retrieve({}, 1);
}

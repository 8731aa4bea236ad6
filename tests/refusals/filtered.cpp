// Refused: flashback: the predicate of Filtered must be callable as keep(const Passage&) and return bool
#include "flashback/retrieval/filtered.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    Filtered filtered{NoPassages{}, [](const Query&) { return true; }};
#else
    Filtered filtered{NoPassages{}, [](const Passage&) { return true; }};
#endif
    filtered.retrieve({}, 1);
}

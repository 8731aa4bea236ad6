// Refused: flashback: moves_text() of a KVReuse must be const and return bool: whether what was written behind passages that leave keeps its keys and values
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : KeepCommonPrefix {
    int moves_text() const;
};

struct Right : KeepCommonPrefix {
    bool moves_text() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.reuse(Wrong{});
#else
    const auto policies = Policies{}.reuse(Right{});
#endif
    static_cast<void>(policies);
}

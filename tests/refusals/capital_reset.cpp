// Refused: flashback: the optional members of a policy are written reset() and rewind(tokens): Reset or Rewind would never be called
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    void Reset();
};

struct Right : Once {
    void reset();
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

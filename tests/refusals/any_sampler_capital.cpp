// Refused: flashback: the optional members of a policy are written reset() and rewind(tokens): Reset or Rewind would never be called
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

struct Wrong : Greedy {
    void Reset();
};

struct Right : Greedy {
    void reset();
};

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnySampler chosen{Wrong{}};
#else
    [[maybe_unused]] const AnySampler chosen{Right{}};
#endif
}

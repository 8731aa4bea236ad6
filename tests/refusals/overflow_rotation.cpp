// Refused: flashback: rotation() of an Overflow must be const and return Rotation: how the model gets rid of what is dropped
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : StopWhenFull {
    bool rotation() const;
};

struct Right : StopWhenFull {
    Rotation rotation() const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.overflow(Wrong{});
#else
    const auto policies = Policies{}.overflow(Right{});
#endif
    static_cast<void>(policies);
}

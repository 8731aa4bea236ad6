// Refused: flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

/// A class that forgot to say public.
class Wrong : public Once {
    void reset() {}
};

class Right : public Once {
public:
    void reset() {}
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

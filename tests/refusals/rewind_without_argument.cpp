// Refused: flashback: rewind of a policy is called as rewind(std::size_t tokens) when tokens are taken back: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Once {
    void rewind();
};

struct Right : Once {
    void rewind(std::size_t tokens);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule(Wrong{});
#else
    const auto policies = Policies{}.schedule(Right{});
#endif
    static_cast<void>(policies);
}

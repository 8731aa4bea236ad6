// Refused: flashback: the optional members of a policy are written reset() and rewind(tokens): Reset or Rewind would never be called
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : Greedy {
    void Rewind(std::size_t tokens);
};

struct Right : Greedy {
    void rewind(std::size_t tokens);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler(Wrong{});
#else
    const auto policies = Policies{}.sampler(Right{});
#endif
    static_cast<void>(policies);
}

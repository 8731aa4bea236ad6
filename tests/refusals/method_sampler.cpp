// Refused: flashback: sampler of a method must be callable as a Sampler is
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    float sampler(std::span<const float> logits) const;
};

struct Right {
    TokenId sampler(std::span<const float> logits) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

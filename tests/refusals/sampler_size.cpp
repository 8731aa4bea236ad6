// Refused: flashback: a Sampler must be callable as sampler(std::span<const float> logits) or sampler(logits, const StepView&) and return TokenId
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler([](std::span<const float> logits) { return logits.size() - 1; });
#else
    const auto policies = Policies{}.sampler([](std::span<const float> logits) { return TokenId{logits[0] > 0}; });
#endif
    static_cast<void>(policies);
}

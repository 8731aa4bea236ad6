// Refused: flashback: a Sampler must be callable as sampler(std::span<const float> logits) or sampler(logits, const StepView&) and return TokenId
#include "flashback/policy/any_policy.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    [[maybe_unused]] const AnySampler chosen{[](std::vector<float>& logits) { return logits[0] > 0 ? 1 : 2; }};
#else
    [[maybe_unused]] const AnySampler chosen{[](std::span<const float> logits) { return logits[0] > 0 ? 1 : 2; }};
#endif
}

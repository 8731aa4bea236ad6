// Refused: flashback: a Sampler must be callable as sampler(std::span<const float> logits) or sampler(logits, const StepView&) and return TokenId
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler([](std::vector<float>& logits) { return logits[0] > 0 ? 1 : 2; });
#else
    const auto policies = Policies{}.sampler([](std::span<const float> logits) { return logits[0] > 0 ? 1 : 2; });
#endif
    generate_with(policies);
}

// Refused: flashback: a Sampler must be callable as sampler(std::span<const float> logits) or sampler(logits, const StepView&) and return TokenId
#include "flashback/policy/policies.hpp"

using namespace flashback;

/// The call with the step does not fit, and would be passed over for the other one.
struct HalfRight {
    TokenId operator()(std::span<const float> logits) const;
    std::size_t operator()(std::span<const float> logits, const StepView& step) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.sampler(HalfRight{});
#else
    const auto policies = Policies{}.sampler(Greedy{});
#endif
    static_cast<void>(policies);
}

// Refused: flashback: RepetitionPenalty hands the logits to a Sampler: callable as sampler(logits) or sampler(logits, const StepView&), giving TokenId
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const RepetitionPenalty sampler{{}, [](float logit) { return logit > 0 ? 1 : 2; }};
#else
    const RepetitionPenalty sampler{{}, Greedy{}};
#endif
    generate_with(Policies{}.sampler(sampler));
}

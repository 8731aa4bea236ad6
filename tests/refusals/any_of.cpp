// Refused: flashback: any_of, all_of and at_most are made of RetrievalSchedules: callable as schedule(const StepView&), giving bool or Decision
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto schedule = any_of(EveryNTokens{16}, 64);
#else
    const auto schedule = any_of(EveryNTokens{16}, EveryNTokens{64});
#endif
    generate_with(Policies{}.schedule(schedule));
}

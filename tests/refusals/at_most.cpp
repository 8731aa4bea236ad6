// Refused: flashback: any_of, all_of and at_most are made of RetrievalSchedules: callable as schedule(const StepView&), giving bool or Decision
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto schedule = at_most(3, 16);
#else
    const auto schedule = at_most(3, EveryNTokens{16});
#endif
    generate_with(Policies{}.schedule(schedule));
}

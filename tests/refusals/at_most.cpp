// Refused: flashback: at_most bounds a RetrievalSchedule: callable as schedule(const StepView&), giving bool or Decision
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

// Refused: flashback: any_of, all_of and at_most are made of RetrievalSchedules: callable as schedule(const StepView&), giving bool or Decision
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const AnyOf schedule{Once{}, 64};
#else
    const AnyOf schedule{Once{}, EveryNTokens{64}};
#endif
    generate_with(Policies{}.schedule(schedule));
}

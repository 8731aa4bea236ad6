// Refused: flashback: a RetrievalSchedule whose call is not const must have reset(), or a second generation would start with what the first one left
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto schedule = any_of(Once{}, [asked = 0](const StepView&) mutable { return ++asked % 16 == 0; });
#else
    const auto schedule = any_of(Once{}, [](const StepView& step) { return step.generated() % 16 == 0; });
#endif
    static_cast<void>(Policies{}.schedule(schedule));
}

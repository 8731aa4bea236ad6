// Refused: flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const Policies<int> policies;
#else
    const Policies<Once> policies;
#endif
    generate_with(policies);
}

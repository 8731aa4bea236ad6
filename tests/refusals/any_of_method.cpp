// Refused: flashback: what has a member schedule() is a method, for Policies::method, and no RetrievalSchedule: to combine it, give it operator() instead, and make its query a policy of its own
#include "generate.hpp"

using namespace flashback;

struct Mine {
#ifdef WRONG
    bool schedule(const StepView& step) const { return step.retrievals == 0; }
#else
    bool operator()(const StepView& step) const { return step.retrievals == 0; }
#endif
};

int main() { generate_with(Policies{}.schedule(any_of(EveryNTokens{16}, Mine{}))); }

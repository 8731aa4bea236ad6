// Refused: flashback: what has a member schedule() is a method, for Policies::method, and no RetrievalSchedule: to combine it, give it operator() instead, and make its query a policy of its own
#include "generate.hpp"

using namespace flashback;

struct Method {
    static bool schedule(const StepView& step) { return step.retrievals == 0; }
};

int main() {
#ifdef WRONG
    const auto schedule = any_of(EveryNTokens{16}, Method{});
#else
    const auto schedule = any_of(EveryNTokens{16}, &Method::schedule);
#endif
    generate_with(Policies{}.schedule(schedule));
}

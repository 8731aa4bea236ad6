// Refused: flashback: a RetrievalSchedule whose call is not const must have reset(), or a second generation would start with what the first one left
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Counts {
    int asked = 0;
    bool operator()(const StepView&) { return ++asked % 16 == 0; }
    void reset() { asked = 0; }
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.schedule([asked = 0](const StepView&) mutable { return ++asked % 16 == 0; });
#else
    const auto policies = Policies{}.schedule(Counts{});
#endif
    static_cast<void>(policies);
}

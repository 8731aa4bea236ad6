// Refused: flashback: a RetrievalSchedule whose call is not const must have reset(), or a second generation would start with what the first one left
#include "flashback/policy/policies.hpp"

#include <functional>

using namespace flashback;

/// What the first generation left is where the second one starts.
struct Forgetful {
    int asked = 0;
    bool operator()(const StepView&) { return ++asked % 16 == 0; }
};

struct Counts : Forgetful {
    void reset() { asked = 0; }
};

int main() {
    [[maybe_unused]] Forgetful forgetful;
    [[maybe_unused]] Counts counts;
#ifdef WRONG
    const auto policies = Policies{}.schedule(std::ref(forgetful));
#else
    const auto policies = Policies{}.schedule(std::ref(counts));
#endif
    static_cast<void>(policies);
}

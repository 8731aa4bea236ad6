// Refused: flashback: a policy that is chosen at run time is copied; refer to one that cannot be by std::ref
#include "flashback/policy/any_policy.hpp"

#include <functional>
#include <memory>

using namespace flashback;

struct MovesOnly {
    std::unique_ptr<int> state = {};
    bool operator()(const StepView& step) const;
};

int main() {
    MovesOnly policy;
#ifdef WRONG
    [[maybe_unused]] const AnySchedule chosen{MovesOnly{}};
#else
    [[maybe_unused]] const AnySchedule chosen{std::ref(policy)};
#endif
    static_cast<void>(policy);
}

// Refused: flashback: one of these policies can be moved but not copied: set the others in one chain with it, or by std::move(policies).schedule(...)
#include "flashback/policy/policies.hpp"

#include <memory>
#include <utility>

using namespace flashback;

struct MovesOnly {
    std::unique_ptr<int> state = {};
    bool operator()(const StepView& step) const;
};

struct Method {
    TokenSpan query(const StepView& step) const;
};

int main() {
    auto policies = Policies{}.schedule(MovesOnly{});
#ifdef WRONG
    const auto both = policies.method(Method{});
#else
    const auto both = std::move(policies).method(Method{});
#endif
    static_cast<void>(both);
}

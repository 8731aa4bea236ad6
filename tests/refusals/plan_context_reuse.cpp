// Refused: flashback: plan_context takes wrapper(), layout() and reuse() of its policies, as Policies has them
#include "flashback/policy/context_plan.hpp"

using namespace flashback;

/// The three that a plan takes.
struct Wrong {
    NoMarkers wrapper() const;
    AppendPassages layout() const;
    int (*reuse() const)(TokenSpan held, TokenSpan wanted);
};

struct Right {
    NoMarkers wrapper() const;
    AppendPassages layout() const;
    KeepCommonPrefix reuse() const;
};

int main() {
    const TokenBuffer held{1, 2};
    PlanScratch scratch;
#ifdef WRONG
    const auto plan = plan_context(Wrong{}, held, {held, {}, held}, scratch);
#else
    const auto plan = plan_context(Right{}, held, {held, {}, held}, scratch);
#endif
    return static_cast<int>(plan.keep);
}

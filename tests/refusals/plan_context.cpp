// Refused: flashback: plan_context takes wrapper(), layout() and reuse() of its policies, as Policies has them
#include "generate.hpp"

using namespace flashback;

int main() {
    const TokenBuffer held{1, 2};
    PlanScratch scratch;
#ifdef WRONG
    const auto plan = plan_context(AppendPassages{}, held, {held, {}, held}, scratch);
#else
    const auto plan = plan_context(Policies{}.layout(AppendPassages{}), held, {held, {}, held}, scratch);
#endif
    return static_cast<int>(plan.keep);
}

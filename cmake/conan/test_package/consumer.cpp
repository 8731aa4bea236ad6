// Of a context of four tokens, three of which are held, one is evaluated.
#include <flashback/policy/context_plan.hpp>
#include <flashback/policy/policies.hpp>

#include <array>

int main() {
    const std::array<flashback::TokenId, 4> context{1, 2, 3, 4};
    flashback::PlanScratch scratch;
    const auto plan = flashback::plan_context(flashback::Policies{}, flashback::TokenSpan{context}.first(3),
                                              {.head = {}, .passages = {}, .context = context}, scratch);
    return plan.feed.size() == 1 ? 0 : 1;
}

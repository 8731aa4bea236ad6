// Errors without exceptions: a handler that returns, and the default, which says the sentence before it ends the program.
// tests/policy_only.sh compiles and runs it both ways.
#include "flashback/decoder/generator.hpp"
#include "flashback/policy/context_plan.hpp"

#include <string>

int main(int argc, char**) {
    using namespace flashback;
    std::string heard;
    auto handler = [&](ErrorCode code, std::string_view sentence) {
        heard = std::string{to_string(code)} + ": " + std::string{sentence};
    };
    PlanScratch scratch;
    if (!plan_context(Policies{}, {}, {}, scratch, handler).feed.empty()) return 1;
    if (heard != "contract: a context needs at least 1 token, but head, passages and context are all empty") return 2;

    Generator generator{Policies{}.schedule(Never{})};
    generator.on_error(handler);
    const TokenBuffer prompt{1, 2};
    generator.start(prompt, {}, {.vocab_size = 4});
    const std::vector<float> logits{1, 2, 3};
    generator.evaluated(logits, 2);
    if (generator.need().kind != Need::Kind::done || generator.need().stop != StopReason::failed) return 3;
    if (heard != "engine: the model gave 3 logits, but its vocab_size() is 4") return 4;

    if (argc > 1) EveryNTokens{0};  // ends the program
    return 0;
}

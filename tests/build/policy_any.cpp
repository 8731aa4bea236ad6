// What no other program uses without exceptions and RTTI: policies and retrievers that are chosen at run time, and the models
// of testing. tests/policy_only.sh compiles it so.
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"

#include <array>

int main() {
    using namespace flashback;
    testing::NullModel model{50};
    AnyRetriever retriever{testing::NullRetriever{8, 50}};
    AnyPolicies policies{AnySchedule{EveryNTokens{4}},     AnyQuery{LastNTokens{2}},
                         AnyWrapper{MarkerTokens{48, 49}}, AnyLayout{PrependPassages{}},
                         AnyReuse{RecomputeAll{}},         AnySampler{Greedy{}},
                         AnyOverflow{DropOldest{}},        AnyStopping{StopStrings{{"?"}, [](TokenId) { return '.'; }}}};
    Decoder decoder{model, retriever, policies};
    const std::array<TokenId, 3> prompt{1, 2, 3};
    const auto run = decoder.generate(prompt, {.max_tokens = 12});
    return run.tokens.size() == 12 && run.stats.retrievals == 3 && run.stats.counts.reused == 0 ? 0 : 1;
}

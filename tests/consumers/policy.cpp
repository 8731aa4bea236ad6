// The decoding loop over models that cost nothing: what flashback::policy alone is good for.
#include <flashback/decoder/decoder.hpp>
#include <flashback/testing/null_model.hpp>

#include <array>
#include <cstdio>

int main() {
    flashback::testing::NullModel model{50};
    flashback::testing::NullRetriever retriever{8, 50};
    flashback::Decoder decoder{model, retriever, flashback::Policies{}.schedule(flashback::EveryNTokens{4})};
    const std::array<flashback::TokenId, 3> prompt{1, 2, 3};
    const auto run = decoder.generate(prompt, {.max_tokens = 12});
    std::printf("%zu tokens, %zu retrievals, %zu positions reused\n", run.tokens.size(), run.stats.retrievals,
                run.stats.counts.reused);
    return run.tokens.size() == 12 && run.stats.retrievals == 3 && run.stats.counts.reused > 0 ? 0 : 1;
}

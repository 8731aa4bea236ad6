// Whatever the decoder reuses, its logits are those of an evaluation from scratch, to the bit.
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

// A session that compares its logits with an evaluation from scratch after every call.
class CheckedModel {
public:
    using Block = decltype(std::declval<PoisonedSession&>().block({}, 0, 0));

    CheckedModel(PoisonedSession& session, ModelPtr model) : session_(session), model_(std::move(model)) {}

    std::span<const float> evaluate(TokenSpan tokens) {
        const std::span<const float> logits = session_.evaluate(tokens);
        const TokenSpan all = session_.tokens();
        if (session_.plain_size() == session_.size()) {
            require_exact(logits, model_, all);
        } else {
            // The text, the blocks, and the rest, each in one call.
            Session fresh{model_};
            fresh.evaluate(all.first(session_.plain_size()));
            std::vector<std::shared_ptr<const Session::Block>> blocks;
            for (const Block& block : session_.blocks())
                blocks.push_back(fresh.block(block->tokens, block->seen.size(), block->first_position));
            fresh.see(std::move(blocks));
            const std::span<const float> expected = fresh.evaluate(all.subspan(session_.plain_size()));
            REQUIRE(std::memcmp(logits.data(), expected.data(), expected.size_bytes()) == 0);
            ++beside;
        }
        ++checks;
        return logits;
    }
    Block block(TokenSpan tokens, std::size_t sees, std::size_t first_position) {
        return session_.block(tokens, sees, first_position);
    }
    void see(std::vector<Block> blocks) { session_.see(std::move(blocks)); }
    std::size_t plain_size() const { return session_.plain_size(); }
    void truncate(std::size_t n) { session_.truncate(n); }
    std::size_t size() const { return session_.size(); }
    std::size_t vocab_size() const { return session_.vocab_size(); }
    std::size_t window() const { return session_.window(); }
    TokenSpan head() const { return session_.head(); }
    TokenSpan tokens() const { return session_.tokens(); }

    std::size_t checks = 0;
    std::size_t beside = 0;  ///< those of tokens that see blocks

private:
    PoisonedSession& session_;
    ModelPtr model_;
};

template <class Layout>
void reuse_equals_recomputation(const ModelPtr& model, std::size_t stride, std::size_t prompt_tokens, std::size_t passages) {
    CAPTURE(stride);
    CAPTURE(passages);
    SplitMix64 random{stride};
    RandomRetriever retriever{12, 40, model->config.vocab, 5 * stride};
    const std::vector<TokenId> prompt = random_tokens(random, prompt_tokens, model->config.vocab);
    const GenerateOptions options{.max_tokens = 45, .passages = passages, .ignore_eos = true};
    const auto policies = Policies{}
                              .schedule(EveryNTokens{stride})
                              .layout(Layout{})
                              .wrapper(MarkerTokens{3, 4})
                              .sampler(TruncatedSampling{{.temperature = 1.0f, .top_p = 0.9f, .seed = stride}});

    PoisonedSession session{model};
    CheckedModel checked{session, model};
    Decoder reusing{checked, retriever, policies};
    const Generation with_reuse = reusing.generate(prompt, options);

    Session plain{model};
    Decoder recomputing{plain, retriever, policies.reuse(RecomputeAll{})};
    const Generation without = recomputing.generate(prompt, options);

    // Passages beside the text part a plan in two.
    const bool aside = beside_of(Layout{}).seeing > 0 && passages > 0;
    CHECK(checked.checks == options.max_tokens + (aside ? with_reuse.stats.retrievals : 0));
    CHECK(checked.beside == (aside ? options.max_tokens : 0));
    CHECK(with_reuse.tokens == without.tokens);
    CHECK(with_reuse.stats.retrievals == without.stats.retrievals);
    CHECK(with_reuse.stats.counts.requested == without.stats.counts.requested);
    CHECK(with_reuse.stats.counts.reused > without.stats.counts.reused);
    CHECK(std::ranges::equal(session.tokens(), plain.tokens()));
}

}  // namespace

TEST_CASE("At every retrieval the decoder has the logits of an evaluation from scratch, with the tokens of a recomputation") {
    const ModelPtr model = random_model({.layers = 1, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = 400});
    for (std::size_t stride = 1; stride <= 20; stride += sanitized ? 5 : 1) {
        reuse_equals_recomputation<AppendPassages>(model, stride, 5 * stride, stride % 4);
        reuse_equals_recomputation<AppendAndRepeat>(model, stride, 5 * stride, stride % 4);
        reuse_equals_recomputation<Sticky>(model, stride, 5 * stride, stride % 4);
        reuse_equals_recomputation<PrependPassages>(model, stride, 5 * stride, stride % 4);
        reuse_equals_recomputation<PassagesAside>(model, stride, 5 * stride, stride % 4);
    }
}

TEST_CASE("The default model is exact as well, with threads and a retriever") {
    ThreadPool pool{2};
    const ModelPtr model = load_model(FLASHBACK_TEST_MODEL, pool);
    SplitMix64 random{29};
    const std::vector<TokenId> prompt = random_tokens(random, 50, model->config.vocab);
    RandomRetriever retriever{5, 40, model->config.vocab, 31};
    PoisonedSession session{model, {.window = 256, .executor = pool}};
    CheckedModel checked{session, model};
    Decoder decoder{checked, retriever, Policies{}.schedule(EveryNTokens{4})};
    const Generation generation = decoder.generate(prompt, {.max_tokens = 10, .ignore_eos = true});
    CHECK(generation.tokens.size() == 10);
    CHECK(checked.checks == 10);
}

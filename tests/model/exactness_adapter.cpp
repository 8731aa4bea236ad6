// Promise 1 with an adapter, on weights of every kind of operand.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/sanitizer.hpp"

#include <memory>
#include <span>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t length = 150;

// Beyond the long block of gemm, a rank beyond one panel, sides that are no multiples of 64.
RandomModel shape_of(DType type) {
    return {.layers = 2,
            .width = 288,
            .heads = 6,
            .kv_heads = 2,
            .head_dim = 16,
            .hidden = 352,
            .vocab = 101,
            .tied = true,
            .type = type};
}

std::vector<std::vector<float>> token_by_token(const ModelPtr& model, const SessionOptions& options, TokenSpan tokens) {
    std::vector<std::vector<float>> logits;
    Session session{model, options};
    for (const TokenId& token : tokens) logits.push_back(copy_of(session.evaluate({&token, 1})));
    return logits;
}

}  // namespace

TEST_CASE("Logits with an adapter depend on the tokens alone, for every split, number of threads, fork and cut") {
    for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_0}) {
        CAPTURE(layout_of(type).name);
        const ModelPtr model = random_model(shape_of(type));
        const auto adapter = std::make_shared<const PackedAdapter>(
            random_adapter(model->config, {.rank = 19, .scale = 0.3f, .ids = {3, 77}}), model->config);
        SplitMix64 random{7};
        std::vector<TokenId> tokens = random_tokens(random, length, model->config.vocab);
        tokens[2] = 3;
        tokens[60] = 77;
        const SessionOptions options{.adapter = adapter, .adapter_scale = 0.7f};
        const auto expected = token_by_token(model, options, tokens);
        REQUIRE_FALSE(same_bits(expected.back(), from_scratch(model, tokens)));
        for (const std::size_t threads : {1u, 2u, 3u, 4u}) {
            if (sanitized && threads != 3) continue;
            CAPTURE(threads);
            ThreadPool pool{threads};
            for (const std::size_t piece : {7u, 64u, 256u}) {
                if (sanitized && piece != 64) continue;
                SessionOptions how = options;
                how.piece = piece;
                how.executor = pool;
                PoisonedSession session{model, how};
                for (const std::size_t m : {1u, 2u, 3u, 7u, 8u, 16u, 33u, 63u, 64u, 65u, 144u}) {
                    session.truncate(0);
                    require_exact(session.evaluate(TokenSpan{tokens}.first(m)), expected[m - 1], m);
                }
                // Reuse: cut, go elsewhere, come back; a branch; all logits of the rest at once.
                session.truncate(100);
                session.evaluate(random_tokens(random, 40, model->config.vocab));
                session.truncate(70);
                PoisonedSession branch = session.fork();
                require_exact(branch.evaluate(TokenSpan{tokens}.subspan(70, 16)), expected[85], 86);
                require_exact(session.evaluate(TokenSpan{tokens}.subspan(70, 1)), expected[70], 71);
                const std::vector<float> all = copy_of(session.evaluate_all(TokenSpan{tokens}.subspan(71)));
                for (std::size_t i = 71; i < length; ++i) {
                    const std::size_t vocab = session.vocab_size();
                    require_exact(std::span{all}.subspan((i - 71) * vocab, vocab), expected[i], i + 1);
                }
            }
        }
    }
}

TEST_CASE("Merged weights do not depend on the number of threads") {
    const ModelPtr model = random_model(shape_of(DType::f32));
    const Adapter adapter = random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::down}, .ids = {3, 9}});
    ThreadPool pool{3};
    CHECK(merged(*model, adapter, 0.5f, pool)->fingerprint == merged(*model, adapter, 0.5f)->fingerprint);
}

// Promise 1 for weights and caches in tiles (under FLASHBACK_AMX_EMULATE: in their software twin).
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"

#include <vector>

#include <doctest/doctest.h>

namespace test_model_exactness_amx {

using namespace flashback;
using namespace flashback_test;

TEST_CASE("Tiles: logits depend on the tokens alone") {
    RandomModel large{.layers = 1, .width = 544, .heads = 6, .kv_heads = 2, .head_dim = 32, .hidden = 96, .vocab = 33};
    RandomModel small{.layers = 1, .width = 20, .heads = 5, .kv_heads = 1, .head_dim = 4, .hidden = 27, .vocab = 33};
    RandomModel quantised{.layers = 1, .width = 64, .heads = 4, .kv_heads = 1, .head_dim = 16, .hidden = 160, .vocab = 33};
    large.type = small.type = DType::bf16;
    quantised.type = DType::q8_0;  // 16 rows and more in tiles, fewer in vectors
    for (const RandomModel& shape : {large, small, quantised}) {
        const ModelPtr model = random_model(shape);
        for (const DType element : {DType::f32, DType::bf16}) {
            if (element == DType::f32 && shape.width == small.width) continue;
            SplitMix64 random{7};
            const std::vector<TokenId> tokens = random_tokens(random, element == DType::f32 ? 65 : 130, model->config.vocab);
            std::vector<std::vector<float>> expected;
            Session one_by_one{model, {.cache = element}};
            for (const TokenId& token : tokens) expected.push_back(copy_of(one_by_one.evaluate({&token, 1})));
            ThreadPool pool{3};
            PoisonedSession session{model, {.executor = pool, .cache = element}};
            PoisonedPagedSession paged{model, {.piece = 23, .executor = pool, .cache = element}};
            for (const std::size_t m : {1u, 2u, 7u, 16u, 17u, 33u, 65u}) {
                session.truncate(0);
                require_exact(session.evaluate(TokenSpan{tokens}.first(m)), expected[m - 1], m);
            }
            require_exact(paged.evaluate(tokens), expected.back(), tokens.size());
            for (const std::size_t cut : {37u, 63u, 64u}) {
                session.truncate(cut);
                require_exact(session.evaluate(TokenSpan{tokens}.subspan(cut)), expected.back(), tokens.size());
            }
        }
    }
}

}  // namespace test_model_exactness_amx

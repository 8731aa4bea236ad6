// Promise 1 for every type of weights and every element of the cache.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/poisoned_kv_cache.hpp"
#include "support/random_model.hpp"
#include "support/repacked.hpp"

#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

using ModelPtr = std::shared_ptr<const Transformer>;
using PoisonedSession = BasicSession<PoisonedKVCache>;

// Beyond the long block of every kernel, heads that share keys, rows that are no multiple of 64 where blocks allow it.
RandomModel shape_of(DType type) {
    const bool long_blocks = layout_of(type).block_elements > 32;
    return {.layers = 2,
            .width = long_blocks ? 768u : 544u,
            .heads = long_blocks ? 8u : 6u,
            .kv_heads = 2,
            .head_dim = 32,
            .hidden = long_blocks ? 768u : 672u,
            .vocab = 301,
            .tied = true,
            .type = type};
}

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace

TEST_CASE("Logits depend on the tokens alone, for every type of weights and every element of the cache") {
    for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k}) {
        const ModelPtr model = random_model(shape_of(type));
        for (const DType element : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
            CAPTURE(layout_of(type).name);
            CAPTURE(layout_of(element).name);
            SplitMix64 random{7};
            const std::vector<TokenId> tokens = random_tokens(random, 150, model->config.vocab);
            std::vector<std::vector<float>> expected;
            Session one_by_one{model, {.cache = element}};
            for (const TokenId& token : tokens) expected.push_back(copy_of(one_by_one.evaluate({&token, 1})));
            REQUIRE(std::isfinite(expected.back()[0]));

            for (const std::size_t threads : {1u, 2u, 3u}) {
                ThreadPool pool{threads};
                PoisonedSession session{model, {.executor = pool, .cache = element}};
                for (const std::size_t m : {1u, 2u, 3u, 7u, 16u, 33u, 63u, 64u, 65u, 144u}) {
                    CAPTURE(m);
                    session.truncate(0);
                    REQUIRE(same_bits(session.evaluate(TokenSpan{tokens}.first(m)), expected[m - 1]));
                }
                // Reuse: cut, go elsewhere, come back, all logits of the rest at once.
                session.truncate(100);
                const std::vector<TokenId> other = random_tokens(random, 40, model->config.vocab);
                session.evaluate(other);
                session.truncate(70);
                const std::vector<float> all = copy_of(session.evaluate_all(TokenSpan{tokens}.subspan(70)));
                for (std::size_t i = 70; i < tokens.size(); ++i) {
                    const std::size_t vocab = session.vocab_size();
                    REQUIRE(same_bits(std::span{all}.subspan((i - 70) * vocab, vocab), expected[i]));
                }
            }
        }
    }
}

TEST_CASE("Sessions keep f16 for quantised weights and f32 for others, unless they are told") {
    CHECK(random_model(shape_of(DType::q8_0))->default_cache_element() == DType::f16);
    CHECK(random_model(shape_of(DType::q4_0))->default_cache_element() == DType::f16);
    CHECK(random_model(shape_of(DType::q4_k))->default_cache_element() == DType::f16);
    CHECK(random_model(shape_of(DType::q6_k))->default_cache_element() == DType::f16);
    CHECK(random_model(shape_of(DType::f32))->default_cache_element() == DType::f32);
    CHECK(random_model(shape_of(DType::bf16))->default_cache_element() == DType::f32);
    const ModelPtr model = random_model(shape_of(DType::q8_0));
    const std::vector<TokenId> tokens{1, 5, 9, 30, 7};
    Session as_default{model};
    Session f16{model, {.cache = DType::f16}};
    Session f32{model, {.cache = DType::f32}};
    const std::vector<float> logits = copy_of(as_default.evaluate(tokens));
    CHECK(same_bits(f16.evaluate(tokens), logits));
    CHECK_FALSE(same_bits(f32.evaluate(tokens), logits));
    CHECK_THROWS_WITH_AS((Session{model, {.cache = DType::q4_0}}), "a KV cache of Q4_0, expected F32, F16, BF16 or I8", Error);
}

TEST_CASE("Quantised weights give nearly the logits of the same weights as floats") {
    for (const DType type : {DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k}) {
        CAPTURE(layout_of(type).name);
        const ModelPtr model = random_model(shape_of(type));
        const ModelPtr as_floats = repacked(random_model(shape_of(type)), DType::f32);
        SplitMix64 random{3};
        const std::vector<TokenId> tokens = random_tokens(random, 20, model->config.vocab);
        Session session{model, {.cache = DType::f32}};
        Session reference{as_floats};
        const std::vector<float> got = copy_of(session.evaluate(tokens));
        const std::span<const float> expected = reference.evaluate(tokens);
        double error = 0;
        double square = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
            error += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
            square += std::pow(static_cast<double>(expected[i]), 2);
        }
        // Products round their activations to 8 bits (an error of about 1 % of their root mean square) or to bfloat16 (2^-9).
        CHECK(std::sqrt(error / square) < 0.05);
        if (type == DType::f16) CHECK(error == 0);
    }
}

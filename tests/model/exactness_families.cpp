// Promise 1 for every family, every element of the cache and every kind of operand.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_adapter.hpp"

#include <memory>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_exactness_families {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t text_length = 145;

/// Any split, cut, fork and number of threads against token by token.
void check_exact(const ModelPtr& model, const SessionOptions& options) {
    SplitMix64 random{7};
    const std::size_t vocab = model->config.vocab;
    const std::vector<TokenId> tokens = random_tokens(random, text_length, vocab);
    std::vector<std::vector<float>> expected;
    Session one_by_one{model, options};
    for (const TokenId& token : tokens) expected.push_back(copy_of(one_by_one.evaluate({&token, 1})));
    for (const std::size_t threads : {1u, 3u}) {
        ThreadPool pool{threads};
        SessionOptions how = options;
        how.executor = pool;
        how.piece = threads == 1 ? 256 : 30;
        PoisonedSession session{model, how};
        for (const std::size_t m : {1u, 2u, 7u, 16u, 17u, 63u, 64u, 65u, 144u}) {
            session.truncate(0);
            require_exact(session.evaluate(TokenSpan{tokens}.first(m)), expected[m - 1], m);
        }
        // Reuse: cut, go elsewhere, come back; a branch; all logits of the rest at once.
        session.truncate(100);
        session.evaluate(random_tokens(random, 40, vocab));
        session.truncate(70);
        PoisonedSession branch = session.fork();
        require_exact(branch.evaluate(TokenSpan{tokens}.subspan(70, 16)), expected[85], 86);
        const std::vector<float> all = copy_of(session.evaluate_all(TokenSpan{tokens}.subspan(70)));
        for (std::size_t i = 70; i < tokens.size(); ++i)
            require_exact(std::span{all}.subspan((i - 70) * vocab, vocab), expected[i], i + 1);
    }
}

}  // namespace

TEST_CASE("Logits of every family depend on the tokens alone, for every type of weights and every element of the cache") {
    for (const DType type : {DType::f32, DType::bf16, DType::q8_0}) {
        for (const FamilyModel& family : family_models(type)) {
            const ModelPtr model = random_model(family.shape);
            for (const DType element : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
                if (type != DType::f32 && element != model->default_cache_element()) continue;
                CAPTURE(family.name);
                CAPTURE(layout_of(type).name);
                CAPTURE(layout_of(element).name);
                check_exact(model, {.cache = element});
            }
        }
    }
}

TEST_CASE("Logits of every family with an adapter depend on the tokens alone") {
    for (const FamilyModel& family : family_models(DType::q8_0)) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        RandomAdapter how{.rank = 5, .scale = 0.3f, .ids = {3, 40}};
        std::erase_if(how.modules, [&](LinearModule m) { return !model->config.has(m); });
        const auto adapter = std::make_shared<const PackedAdapter>(random_adapter(model->config, how), model->config);
        check_exact(model, {.adapter = adapter, .adapter_scale = 0.7f});
    }
}

TEST_CASE("a pair for a layer that the model does not have is refused by name") {
    const ModelPtr model = random_model({.family = Family::opt});
    Adapter adapter;
    adapter.layers.resize(2);
    adapter.layers[1][LinearModule::gate] = {2, 1, std::vector<float>(64), {}};
    CHECK_THROWS_WITH_AS(check_fits(adapter, model->config), doctest::Contains("which the model has not"), Error);
}

}  // namespace test_model_exactness_families

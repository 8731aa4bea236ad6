// The logits of every family against a plain forward pass in double.
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/in_double.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t length = 70;  // beyond a tile of keys

/// How far the logits come to lie if every number is off by what its rounding may do: a sum of n terms by 2^-24 of their
/// magnitudes for each of sqrt(n) steps, which is what n steps to either side come to; keys and values by what the cache rounds.
double effect_of_rounding(DoubleTransformer model, const std::vector<TokenId>& tokens, double cache) {
    const DoubleRows exact = model.logits(tokens);
    SplitMix64 random{17};
    const auto to_either_side = [&] { return 2 * random.uniform() - 1; };
    model.noise = [&](double, double magnitudes, std::size_t terms) {
        return to_either_side() * magnitudes * std::sqrt(static_cast<double>(terms)) * 0x1p-24;
    };
    model.cache_noise = [&] { return 1 + to_either_side() * cache; };
    double most = 0;
    for (int run = 0; run < 4; ++run) most = std::max(most, farthest64(model.logits(tokens), exact));
    return most;
}

DoubleRows logits_of(const ModelPtr& model, const std::vector<TokenId>& tokens, DType cache) {
    Session session{model, {.cache = cache}};
    const std::span<const float> all = session.evaluate_all(tokens);
    return matrix64({all.begin(), all.end()}, index64(session.vocab_size()));
}

}  // namespace

TEST_CASE("the logits of every family are those of a plain forward pass in double") {
    for (const FamilyModel& family : family_models()) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        SplitMix64 random{5};
        const std::vector<TokenId> tokens = random_tokens(random, length, family.shape.vocab);
        const DoubleTransformer plain = in_double(*model);
        const DoubleRows expected = plain.logits(tokens);
        const DoubleRows found = logits_of(model, tokens, DType::f32);
        const double tolerance = effect_of_rounding(plain, tokens, 0x1p-24);
        const double worst = farthest64(found, expected);
        CAPTURE(tolerance);
        CHECK(worst > 0);
        CHECK(worst <= tolerance);
        CHECK(tolerance < 1e-4);
        for (const DType cache : {DType::f16, DType::bf16}) {
            const double rounding = cache == DType::f16 ? 0x1p-11 : 0x1p-8;
            const double off = farthest64(logits_of(model, tokens, cache), expected);
            CHECK(off > worst);
            CHECK(off <= 2 * effect_of_rounding(plain, tokens, rounding));
        }
    }
}

TEST_CASE("every choice of a family is heard in its logits") {
    using Change = std::function<void(DoubleTransformer&)>;
    const auto without = [](const char* name) {
        return [name](DoubleTransformer& m) {
            REQUIRE(m.has(name));
            std::ranges::fill(m.tensors[name], 0.0);
        };
    };
    struct Changes {
        std::string name;
        std::vector<Change> all;
    };
    const std::vector<Changes> changes{
        {"llama 3", {[](auto& m) { m.rotary_divisors.clear(); }, [](auto& m) { m.activation = gelu64; }}},
        {"llama, linear", {[](auto& m) { m.rotary_divisors.assign(8, 1.0); }}},
        {"qwen2", {without("blk.0.attn_q.bias"), without("blk.1.attn_k.bias"), without("blk.1.attn_v.bias")}},
        {"gpt2",
         {without("position_embd.weight"), without("blk.1.ffn_up.bias"), without("blk.0.attn_output.bias"),
          without("output_norm.bias"), without("blk.0.attn_norm.bias"), [](auto& m) { m.activation = relu64; }}},
        {"opt",
         {[](auto& m) { m.position_offset = 0; }, [](auto& m) { m.activation = gelu64; }, without("blk.1.ffn_down.bias")}},
        {"opt-350m",
         {[](auto& m) { m.post_norm = false; }, without("project_in.weight"), without("blk.1.ffn_norm.bias"),
          [](auto& m) {
              m.tensors["output_norm.weight"].assign(m.width, 1.0);
              m.tensors["output_norm.bias"].assign(m.width, 0.0);
          }}},
    };
    for (const Changes& one : changes) {
        CAPTURE(one.name);
        const std::vector<FamilyModel> models = family_models();
        const auto family = std::ranges::find(models, one.name, &FamilyModel::name);
        REQUIRE(family != models.end());
        const ModelPtr model = random_model(family->shape);
        SplitMix64 random{6};
        const std::vector<TokenId> tokens = random_tokens(random, length, family->shape.vocab);
        const DoubleRows found = logits_of(model, tokens, DType::f32);
        for (const Change& change : one.all) {
            DoubleTransformer other = in_double(*model);
            change(other);
            CHECK(farthest64(found, other.logits(tokens)) > 1e-3);
        }
    }
}

TEST_CASE("the window of learned positions is their table") {
    const ModelPtr model = random_model({.window = 20, .family = Family::opt});
    CHECK(model->positions.outputs() == 22);
    Session session{model};
    CHECK(session.window() == 20);
    SplitMix64 random{1};
    session.evaluate(random_tokens(random, 20, 100));
    CHECK_THROWS_WITH_AS(session.evaluate(random_tokens(random, 1, 100)),
                         "the session holds 20 of 20 positions, and 1 more do not fit", Error);
    CHECK_THROWS_AS((Session{model, {.window = 21}}), Error);
}

TEST_CASE("Llama 3 scales as its formula says, at both ends and between") {
    // Llama 3.1 8B: theta 500000, 128 elements, 8 / 1 / 4 / 8192; the numbers are transformers' inv_freq over those unscaled.
    const std::vector<float> factors = llama3_rotary_factors(500000, 128, {8, 1, 4, 8192});
    REQUIRE(factors.size() == 64);
    for (std::size_t i = 0; i < 64; ++i) {
        const double wavelength = 2 * 3.141592653589793 * std::pow(500000.0, static_cast<double>(i) / 64);
        CAPTURE(i);
        if (wavelength < 8192.0 / 4) {
            CHECK(factors[i] == 1);
        } else if (wavelength > 8192.0) {
            CHECK(factors[i] == 8);
        } else {
            const double smooth = (8192 / wavelength - 1) / (4 - 1);
            CHECK(static_cast<double>(factors[i]) == doctest::Approx(1 / ((1 - smooth) / 8 + smooth)).epsilon(1e-6));
            CHECK(factors[i] > 1);
            CHECK(factors[i] < 8);
        }
    }
    CHECK(factors.front() == 1);
    CHECK(factors.back() == 8);
    TransformerConfig c;
    c.rotary_dim = 128;
    c.rotary_base = 500000;
    c.rotary_factors = factors;
    c.rotary_linear = 2;
    const std::vector<double> frequencies = rotary_frequencies_of(c);
    CHECK(frequencies.front() == 0.5);
    CHECK(frequencies.back() == doctest::Approx(std::pow(500000.0, -126.0 / 128) / 16));
}

TEST_CASE("shapes of which no model can be made are refused in words") {
    const auto refuse = [](const char* words, const std::function<void(TransformerConfig&)>& change) {
        TransformerConfig c = random_model({})->config;
        change(c);
        CHECK_THROWS_WITH_AS(check_shape(c), words, Error);
    };
    refuse("the shape 'random' has a side of 0", [](auto& c) { c.hidden = 0; });
    refuse("the shape 'random' has 4 heads and 3 of keys and values, expected a divisor", [](auto& c) { c.kv_heads = 3; });
    refuse("the shape 'random' rotates 5 elements of heads of 8, expected an even number of them",
           [](auto& c) { c.rotary_dim = 5; });
    refuse("the shape 'random' has 3 rotary factors for 4 frequencies", [](auto& c) { c.rotary_factors.resize(3); });
    refuse("the shape 'random' learns its positions and rotates 8 elements of a head, expected 0",
           [](auto& c) { c.positions = Positions::learned; });
    refuse("the shape 'random' has gates with another function than SiLU, which is not implemented",
           [](auto& c) { c.activation = Activation::relu; });
}

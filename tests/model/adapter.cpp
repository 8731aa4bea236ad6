// What an adapter does in a session, and as a part of the weights.
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .hidden = 96, .vocab = 100};

std::shared_ptr<const PackedAdapter> pack(const Transformer& model, const Adapter& adapter) {
    return std::make_shared<const PackedAdapter>(adapter, model.config);
}

std::vector<float> logits_of(const ModelPtr& model, TokenSpan tokens, const SessionOptions& options = {}) {
    return copy_of(Session{model, options}.evaluate(tokens));
}

/// |a - b| over |b|, as vectors.
double distance(std::span<const float> a, std::span<const float> b) {
    double error = 0;
    double square = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        square += std::pow(static_cast<double>(b[i]), 2);
    }
    return std::sqrt(error / square);
}

const std::vector<TokenId> text{1, 5, 30, 7, 5, 99, 12, 64, 3, 30, 8, 2, 41};

}  // namespace

TEST_CASE("every part of an adapter changes the logits, and none of it changes nothing") {
    const auto model = random_model(shape);
    const std::vector<float> plain = logits_of(model, text);
    std::set<std::vector<float>> seen{plain};
    for (const LinearModule m : linear_modules) {
        const Adapter one = random_adapter(model->config, {.modules = {m}});
        for (std::size_t l = 0; l < 2; ++l) {
            CAPTURE(to_string(m));
            Adapter here = one;
            here.layers[1 - l][m] = {};
            CHECK(seen.insert(logits_of(model, text, {.adapter = pack(*model, here)})).second);
        }
        CHECK(same_bits(logits_of(model, text, {.adapter = pack(*model, one), .adapter_scale = 0}), plain));
    }
    CHECK(seen.insert(logits_of(model, text,
                                {.adapter = pack(*model, random_adapter(model->config, {.modules = {}, .ids = {30}}))}))
              .second);
    CHECK(same_bits(
        logits_of(model, text, {.adapter = pack(*model, random_adapter(model->config, {.modules = {}, .ids = {31}}))}), plain));
    CHECK(same_bits(logits_of(model, text, {.adapter = pack(*model, {})}), plain));
}

TEST_CASE("a replaced row is the input embedding of its token, and a tied head keeps the row of the model") {
    for (const bool tied : {false, true}) {
        RandomModel how = shape;
        how.tied = tied;
        const auto model = random_model(how);
        // Token 30 looks like token 7; everything else about it stays.
        Adapter adapter{.layers = {}, .embedding_ids = {50, 30}, .embedding_rows = std::vector<float>(2 * 64)};
        model->embedding.row(50, adapter.embedding_rows.data());
        model->embedding.row(7, adapter.embedding_rows.data() + 64);
        std::vector<TokenId> sevens = text;
        std::ranges::replace(sevens, 30, 7);
        // A scale is one of LoRA: rows are what they are.
        CHECK(same_bits(logits_of(model, text, {.adapter = pack(*model, adapter), .adapter_scale = 3}),
                        logits_of(model, sevens)));
    }
}

TEST_CASE("the scale of a session multiplies that of the adapter") {
    const auto model = random_model(shape);
    Adapter adapter = random_adapter(model->config, {.scale = 1});
    const std::vector<float> half = logits_of(model, text, {.adapter = pack(*model, adapter), .adapter_scale = 0.5f});
    for (AdapterLayer& layer : adapter.layers) {
        for (LoraPair& pair : layer.pairs) pair.scale = 0.5f;
    }
    CHECK(same_bits(half, logits_of(model, text, {.adapter = pack(*model, adapter)})));
}

TEST_CASE("merged weights are the nearest to the sum") {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
        RandomModel how = shape;
        how.type = type;
        const auto model = random_model(how);
        const Adapter adapter =
            random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::down}, .ids = {3, 9}});
        const auto sum = merged(*model, adapter, 0.5f);
        CHECK(sum->fingerprint != model->fingerprint);
        CHECK(fingerprint(sum->layers[0].k) == fingerprint(model->layers[0].k));
        const LoraPair& pair = adapter.layers[1][LinearModule::down];
        std::vector<float> before(96), after(96);
        for (std::size_t o = 0; o < 64; ++o) {
            model->layers[1].down.row(o, before.data());
            sum->layers[1].down.row(o, after.data());
            for (std::size_t i = 0; i < 96; ++i) {
                double exact = 0;
                for (std::size_t r = 0; r < 3; ++r)
                    exact += static_cast<double>(pair.b[o * 3 + r]) * static_cast<double>(pair.a[r * 96 + i]);
                exact = static_cast<double>(before[i]) + exact;  // 2 · 0.5
                const double ulp = type == DType::f32 ? 0x1p-24 : type == DType::f16 ? 0x1p-11 : 0x1p-8;
                CHECK(std::fabs(static_cast<double>(after[i]) - exact) <= ulp * (std::fabs(exact) * (1 + 1e-6) + 0x1p-14));
            }
        }
    }
}

TEST_CASE("merged weights and an adapter beside them give the same logits but for the rounding of sums and weights") {
    for (const bool tied : {false, true}) {
        for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
            CAPTURE(layout_of(type).name);
            RandomModel how = shape;
            how.type = type;
            how.tied = tied;
            const auto model = random_model(how);
            const Adapter adapter = random_adapter(model->config, {.scale = 0.5f, .ids = {30, 7}});
            const std::vector<float> plain = logits_of(model, text);
            const std::vector<float> beside = logits_of(model, text, {.adapter = pack(*model, adapter)});
            const auto sum = merged(*model, adapter);
            CHECK(sum->head.has_value());
            // Every matrix that a number passes on its way (7 a layer, and the head) adds an error of the rounding of its weights, and
            // of one sum more or less: relative to the result at most u in the mean, independent of each other. Nonlinear parts in
            // between may amplify it: a factor of 4.
            const double u = type == DType::f32 ? 0x1p-24 : type == DType::f16 ? 0x1p-11 : 0x1p-8;
            const double sums = 0x1p-24 * std::sqrt(96.0);
            const double tolerance = 4 * std::sqrt(2 * 7 + 1.0) * (u + sums);
            CHECK(distance(logits_of(sum, text), beside) <= tolerance);
            CHECK(distance(plain, beside) > 10 * tolerance);
        }
    }
}

TEST_CASE("what an adapter cannot be merged into is refused, and runs beside it") {
    RandomModel how = shape;
    how.type = DType::q8_0;
    const auto model = random_model(how);
    const Adapter lora = random_adapter(model->config, {.modules = {LinearModule::v}});
    check_error(
        ErrorCode::unsupported,
        "an adapter cannot be merged into model.layers.0.self_attn.v_proj, which is of type Q8_0, expected F32, F16 or BF16",
        [&] { merged(*model, lora); });
    check_error(ErrorCode::unsupported, "cannot be merged into model.embed_tokens, which is of type Q8_0",
                [&] { merged(*model, random_adapter(model->config, {.modules = {}, .ids = {1}})); });
    check_error(ErrorCode::contract, "merged with a scale of nan", [&] { merged(*random_model(shape), lora, std::nanf("")); });
    Adapter wrong = lora;
    wrong.layers.pop_back();
    check_error(ErrorCode::contract, "an adapter of 1 layers does not fit a model of 2 layers", [&] { merged(*model, wrong); });
    // Nothing to add: the same model once more, quantised or not.
    CHECK(same_bits(logits_of(merged(*model, {}), text), logits_of(model, text)));
}

TEST_CASE("adapter and scale are a part of the fingerprint, and stay in a fork") {
    const auto model = random_model(shape);
    const auto fingerprint_with = [&](const Adapter& adapter, float scale = 1) {
        return Session{model, {.adapter = pack(*model, adapter), .adapter_scale = scale}}.fingerprint();
    };
    const Adapter adapter = random_adapter(model->config, {.ids = {3}});
    CHECK(fingerprint_with(adapter) == fingerprint_with(adapter));
    std::set<std::uint64_t> seen{Session{model}.fingerprint(), fingerprint_with(adapter), fingerprint_with(adapter, 0.5f),
                                 fingerprint_with({})};
    Adapter other = adapter;
    other.layers[1][LinearModule::up].b.back() = 0;
    seen.insert(fingerprint_with(other));
    other = adapter;
    other.layers[0][LinearModule::q].scale = 3;
    seen.insert(fingerprint_with(other));
    other = adapter;
    other.embedding_ids = {4};
    seen.insert(fingerprint_with(other));
    other = adapter;
    other.embedding_rows[1] += 1;
    seen.insert(fingerprint_with(other));
    CHECK(seen.size() == 8);

    Session session{model, {.adapter = pack(*model, adapter)}};
    session.evaluate(TokenSpan{text}.first(5));
    Session branch = session.fork();
    CHECK(branch.adapter() == session.adapter());
    CHECK(branch.fingerprint() == session.fingerprint());
    CHECK(same_bits(branch.evaluate(TokenSpan{text}.subspan(5)), logits_of(model, text, {.adapter = pack(*model, adapter)})));
}

TEST_CASE("sessions refuse an adapter of another shape, and scales that are none") {
    const auto model = random_model(shape);
    RandomModel wide = shape;
    wide.hidden = 128;
    const auto other = random_model(wide);
    const auto refuse = [&](const char* sentence, const SessionOptions& options) {
        check_error(ErrorCode::contract, sentence, [&] { Session{model, options}; });
    };
    refuse("the adapter of a session was packed for a model of another shape",
           {.adapter = pack(*other, random_adapter(other->config, {}))});
    refuse("a session scales its adapter by nan, expected a number",
           {.adapter = pack(*model, {}), .adapter_scale = std::nanf("")});
    refuse("a session scales an adapter by 2.000000, but has none", {.adapter_scale = 2});
    check_error(ErrorCode::contract, "the tensor model.layers.0.mlp.gate_proj.lora_B.weight of an adapter has 384 elements",
                [&] {
                    PackedAdapter{random_adapter(other->config, {}), model->config};
                });
}

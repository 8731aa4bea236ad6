#include "flashback/measure/model_cost.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;

namespace {

TransformerConfig small() {
    TransformerConfig c;
    c.name = "small";
    c.vocab = 50;
    c.window = 64;
    c.layers = 2;
    c.width = 32;
    c.heads = 4;
    c.kv_heads = 2;
    c.head_dim = 8;
    c.rotary_dim = 8;
    c.hidden = 48;
    c.norm_epsilon = 1e-5f;
    return c;
}

std::vector<float> logits(const std::shared_ptr<const Transformer>& model) {
    Session session{model};
    const auto out = session.evaluate(std::vector<TokenId>{3, 7, 20});
    return {out.begin(), out.end()};
}

/// Operations of a token and elements that a decoded token reads, of a shape whose model is too large to be made here.
double layer_elements(const TransformerConfig& c) {
    const std::size_t attention = c.width * c.head_dim * (2 * c.heads + 2 * c.kv_heads);
    return static_cast<double>(c.layers * (attention + 3 * c.width * c.hidden));
}

}  // namespace

TEST_CASE("Operations and bytes of a small model, counted by hand") {
    const auto model = random_transformer(small(), DType::f32);
    const ModelCost cost = cost_of(*model);
    const double layers = 2 * (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 48);
    CHECK(cost.operations == 2 * layers);
    CHECK(cost.operations == 2 * layer_elements(small()));
    CHECK(cost.weight_bytes == 4 * (layers + 50 * 32 + 5 * 32));  // with the head and five norms
    CHECK(cost.cache_bytes == 4 * 2 * 2 * 2 * 8);
    CHECK(cost_of(*model, DType::f16).cache_bytes == cost.cache_bytes / 2);
    CHECK(cost.attention_operations == 4 * 2 * 4 * 8);
    CHECK(cost.decode_bytes(10) == cost.weight_bytes + 10 * cost.cache_bytes);
    CHECK(cost.type == DType::f32);
}

TEST_CASE("Bytes of tensors are those of a GGUF file") {
    CHECK(TensorSize{64, DType::f32}.bytes() == 256);
    CHECK(TensorSize{64, DType::bf16}.bytes() == 128);
    CHECK(TensorSize{64, DType::q8_0}.bytes() == 68);
    CHECK(TensorSize{64, DType::q4_0}.bytes() == 36);
    CHECK(TensorSize{256, DType::q6_k}.bytes() == 210);
}

TEST_CASE("The least seconds follow from the peaks") {
    const ModelCost cost{
        .type = DType::bf16, .operations = 100, .attention_operations = 2, .weight_bytes = 50, .cache_bytes = 4};
    const MachinePeaks peaks{.threads = 1, .f32 = 10, .bf16 = 20, .int8 = {}, .read = 5};
    CHECK(cost.product_peak(peaks) == 20);
    CHECK(ModelCost{.type = DType::q8_0}.product_peak(peaks) == 10);  // no such instruction: that of f32
    CHECK(ModelCost{.type = DType::f16}.product_peak(peaks) == 10);
    // Three tokens behind 7: they attend to 8, 9 and 10 positions.
    CHECK(cost.prefill_seconds(peaks, 7, 3) == doctest::Approx(3 * 100 / 20.0 + 27 * 2 / 10.0));
    CHECK(cost.decode_seconds(peaks, 7, 3) == doctest::Approx((3 * 50 + 27 * 4) / 5.0));
}

TEST_CASE("The well-known shapes have the operations of performance figures") {
    CHECK(2 * layer_elements(*shape_of("tinyllama-1.1b")) == doctest::Approx(1.938e9).epsilon(1e-3));
    CHECK(2 * layer_elements(*shape_of("llama2-7b")) == doctest::Approx(12.95e9).epsilon(1e-3));
    for (const std::string_view name : known_shapes) REQUIRE(shape_of(name).has_value());
    CHECK(shape_of("llama2-13b")->width == 5120);
    const auto parameters = [](std::string_view name) {
        Transformer model;
        model.config = *shape_of(name);
        model.layers.resize(model.config.layers);
        std::size_t sum = 0;
        each_tensor(
            model,
            [&](const flashback::TensorId&, std::size_t outputs, std::size_t inputs, const simd::PackedMatrix&) {
                sum += outputs * inputs;
            },
            [&](const flashback::TensorId&, std::size_t count, const std::vector<float>&) { sum += count; });
        return sum;
    };
    // As the files on the Hugging Face hub count them, the head tied.
    CHECK(parameters("gpt2") == 124439808);
    CHECK(parameters("opt-125m") == 125239296);
    CHECK(parameters("opt-1.3b") == 1315758080);
    CHECK(parameters("opt-6.7b") == 6658473984);
    CHECK_FALSE(shape_of("llama3").has_value());
}

TEST_CASE("A random model is the same for the same seed, whatever the executor, and has logits of a usual size") {
    const std::vector<float> expected = logits(random_transformer(small(), DType::f32, 1));
    ThreadPool pool{3};
    CHECK(logits(random_transformer(small(), DType::f32, 1, pool)) == expected);
    CHECK(logits(random_transformer(small(), DType::f32, 2)) != expected);

    const std::uint64_t fingerprint = random_transformer(small(), DType::f32)->fingerprint;
    CHECK(random_transformer(small(), DType::f32, 1, pool)->fingerprint == fingerprint);
    CHECK(random_transformer(small(), DType::f32, 2)->fingerprint != fingerprint);
    CHECK(random_transformer(small(), DType::f16)->fingerprint != fingerprint);
    TransformerConfig deeper = small();
    ++deeper.layers;
    CHECK(random_transformer(deeper, DType::f32)->fingerprint != fingerprint);
    CHECK(std::ranges::all_of(expected, [](float x) { return std::abs(x) < 20; }));
    CHECK(*std::ranges::max_element(expected) > 0.1f);
}

TEST_CASE("A random model of a type that is not there, or of no shape, is refused in words") {
    check_error(ErrorCode::unsupported, "random weights of type Q5_1, expected F32, F16, BF16, Q8_0 or Q4_0",
                [] { random_transformer(small(), DType::q5_1); });
    TransformerConfig c = small();
    c.kv_heads = 3;
    check_error(ErrorCode::contract, "the shape 'small' has 4 heads and 3 of keys and values, expected a divisor",
                [&] { random_transformer(c, DType::f32); });
    c = small();
    c.hidden = 0;
    check_error(ErrorCode::contract, "the shape 'small' has a side of 0", [&] { random_transformer(c, DType::f32); });
}

TEST_CASE("The cost of a token counts biases and projections, and of each table one row: none of its bytes") {
    TransformerConfig c = choices_of(Family::opt);
    c.name = "post";
    c.vocab = 40;
    c.window = 30;
    c.layers = 2;
    c.width = 32;
    c.embedding_width = 16;
    c.heads = c.kv_heads = 2;
    c.head_dim = 16;
    c.hidden = 48;
    c.post_norm = true;
    c.final_norm = false;
    const auto model = random_transformer(c, DType::f32);
    CHECK_FALSE(model->head.has_value());
    const double matrices = 2 * (4.0 * 32 * 32 + 2 * 32 * 48);
    const double vectors = 2 * (4 * 32.0 + 48 + 32 + 4 * 32);
    const ModelCost cost = cost_of(*model);
    CHECK(cost.operations == 2 * matrices);
    CHECK(cost.weight_bytes == 4 * (matrices + vectors + 2 * 16 * 32 + 40 * 16));
    for (const float logit : logits(model)) CHECK(std::isfinite(logit));
}

// The identifiers of tensors: each names one tensor, and what files call it follows.
#include "flashback/model/tensors.hpp"
#include "support/random_model.hpp"

#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("Tensors are named as GGUF names them") {
    CHECK(to_string(TensorId::of(LinearModule::output, 11)) == "blk.11.attn_output.weight");
    CHECK(to_string(TensorId::of(LinearModule::up, 0, true)) == "blk.0.ffn_up.bias");
    CHECK(to_string({TensorRole::attention_norm, 2}) == "blk.2.attn_norm.weight");
    CHECK(to_string({TensorRole::output_norm, 0, true}) == "output_norm.bias");
    CHECK(to_string({TensorRole::embedding}) == "token_embd.weight");
    CHECK(to_string({TensorRole::head}) == "output.weight");
    CHECK(stem_of(TensorId::of(LinearModule::q, 3)) == "blk.3.attn_q");
    for (const LinearModule m : linear_modules) CHECK(TensorId::of(m, 1).linear() == m);
    CHECK_FALSE(TensorId{TensorRole::ffn_norm}.linear().has_value());
}

TEST_CASE("The walk gives each tensor once, with its identifier; a copy without tensors has room for the same") {
    for (const Family family : {Family::llama, Family::gpt2, Family::opt}) {
        CAPTURE(static_cast<int>(family));
        const auto model = flashback_test::random_model({.layers = 2, .vocab = 40, .window = 32, .family = family});
        std::set<std::string> names;
        std::set<const void*> tensors;
        each_tensor(
            *model,
            [&](const TensorId& id, std::size_t outputs, std::size_t inputs, const simd::PackedMatrix& matrix) {
                CHECK(names.insert(to_string(id)).second);
                CHECK(tensors.insert(&matrix).second);
                CHECK(&matrix_of(*model, id) == &matrix);
                CHECK(matrix.outputs() == outputs);
                CHECK(matrix.inputs() == inputs);
            },
            [&](const TensorId& id, std::size_t count, const std::vector<float>& vector) {
                CHECK(names.insert(to_string(id)).second);
                CHECK(tensors.insert(&vector).second);
                CHECK(&vector_of(*model, id) == &vector);
                CHECK(vector.size() == count);
            });
        const Transformer rest = without_tensors(*model);
        CHECK(rest.layers.size() == model->layers.size());
        CHECK(rest.head.has_value() == model->head.has_value());
        CHECK(rest.text_head == model->text_head);
        CHECK(rest.text_ends == model->text_ends);
        CHECK(rest.rotary_frequencies == model->rotary_frequencies);
        CHECK(rest.embedding.outputs() == 0);
        CHECK(rest.fingerprint == 0);
        std::size_t count = 0;
        each_tensor(
            rest,
            [&](const TensorId& id, std::size_t, std::size_t, const simd::PackedMatrix&) {
                count += names.count(to_string(id));
            },
            [&](const TensorId& id, std::size_t, const std::vector<float>&) { count += names.count(to_string(id)); });
        CHECK(count == names.size());
    }
}

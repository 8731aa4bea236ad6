/// \file A Llama from a GGUF file in double, written from the GGUF names alone: the library's kernels, its packing and its loading
/// have no part in it.
#pragma once

#include "flashback/format/gguf.hpp"
#include "support/double_transformer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace flashback_test {

class ReferenceModel {
public:
    explicit ReferenceModel(const flashback::GgufFile& file) : window(number(file, "context_length")) {
        model_.width = number(file, "embedding_length");
        model_.layers = number(file, "block_count");
        model_.heads = number(file, "attention.head_count");
        model_.kv_heads = file.integer("llama.attention.head_count_kv").value_or(model_.heads);
        model_.head_dim = model_.rotary_dim = model_.width / model_.heads;
        model_.epsilon = file.real("llama.attention.layer_norm_rms_epsilon").value();
        model_.rotary_base = file.real("llama.rope.freq_base").value_or(10000.0);
        for (const flashback::GgufTensor& tensor : file.tensors()) {
            const std::string tensor_name{tensor.name};
            model_.tensors[tensor_name] = values(file, tensor_name);
        }
        vocab = model_.tensors.at("token_embd.weight").size() / model_.width;
    }

    /// The natural logarithm of the probability of every token after every prefix.
    /// Shape     (tokens.size(), vocab)
    DoubleRows log_probabilities(const std::vector<std::int32_t>& tokens) const { return log_softmax64(model_.logits(tokens)); }

    std::size_t window, vocab = 0;

private:
    static std::size_t number(const flashback::GgufFile& file, const std::string& key) {
        return file.integer("llama." + key).value();
    }

    static double half(std::uint16_t bits) {
        const int exponent = bits >> 10 & 31;
        const int fraction = bits & 1023;
        const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        return bits >> 15 ? -magnitude : magnitude;
    }

    static std::vector<double> values(const flashback::GgufFile& file, const std::string& name) {
        const flashback::GgufTensor* tensor = file.tensor(name);
        if (!tensor) throw std::runtime_error(name + " is missing");
        std::vector<double> out(tensor->dims[0] * tensor->dims[1]);
        const std::byte* data = tensor->data.data();
        for (std::size_t i = 0; i < out.size(); ++i) {
            if (tensor->type == flashback::DType::f32) {
                float value;
                std::memcpy(&value, data + 4 * i, 4);
                out[i] = static_cast<double>(value);
            } else if (tensor->type == flashback::DType::f16) {
                std::uint16_t bits;
                std::memcpy(&bits, data + 2 * i, 2);
                out[i] = half(bits);
            } else {
                throw std::runtime_error(name + " is neither f32 nor f16");
            }
        }
        return out;
    }

    DoubleTransformer model_;
};

}  // namespace flashback_test

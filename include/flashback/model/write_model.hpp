/// \file From a model to a model file.
#pragma once

#include "flashback/core/dequantize.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/quantize.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/model/detail/each_tensor.hpp"
#include "flashback/model/transformer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Announces the tensors of a model, then writes them in the same order.
class ModelWriter {
public:
    ModelWriter(const Transformer& model, DType type, GgufWriter& writer) : model_(model), type_(type), writer_(writer) {}

    void write() {
        each([&](const std::string& name, const auto& tensor) { announce(name, tensor); });
        each([&](const std::string& name, const auto& tensor) { put(name, tensor); });
    }

private:
    template <class Visit>
    void each(const Visit& visit) const {
        each_tensor(
            model_, [&](const std::string& name, std::size_t, std::size_t, const auto& matrix) { visit(name, matrix); },
            [&](const std::string& name, std::size_t, const auto& vector) { visit(name, vector); });
    }
    void announce(const std::string& name, const std::vector<float>& vector) {
        writer_.add_tensor(name, std::array<std::uint64_t, 1>{vector.size()}, DType::f32);
    }
    void announce(const std::string& name, const simd::PackedMatrix& matrix) {
        writer_.add_tensor(name, std::array<std::uint64_t, 2>{matrix.inputs(), matrix.outputs()}, type_);
    }

    void put(const std::string& name, const std::vector<float>& vector) const {
        check(name, vector);
        writer_.write(std::as_bytes(std::span{vector}));
    }
    void put(const std::string& name, const simd::PackedMatrix& matrix) const {
        const DTypeLayout layout = layout_of(type_);
        std::vector<float> row(matrix.inputs());
        std::vector<std::byte> bytes(matrix.inputs() / layout.block_elements * layout.block_bytes);
        for (std::size_t o = 0; o < matrix.outputs(); ++o) {
            matrix.row(o, row.data());
            quantize(type_, row.data(), row.size(), bytes.data());
            dequantize(type_, bytes.data(), row.size(), row.data());
            check(name, row);
            writer_.write(bytes);
        }
    }

    void check(const std::string& name, const std::vector<float>& values) const {
        if (std::ranges::all_of(values, [](float x) { return std::isfinite(x); })) return;
        FLASHBACK_THROW(ErrorCode::format, "a weight of ", name, " is no finite number as ", layout_of(type_).name,
                        ", expected one that can be written");
    }

    const Transformer& model_;
    DType type_;
    GgufWriter& writer_;
};

}  // namespace detail

/// Writes a Llama model as a GGUF file, whole or not at all: matrices as `type`, norms as f32, hyper-parameters, and the tokenizer
/// of another file, whose EOS becomes the first token that ends a text of this model.
/// Throws    Error{unsupported} for a type that cannot be written; Error{format} for weights that are no finite numbers, or would
///           be none as `type`; Error{contract} for rows that are no whole blocks of it; Error{io}
/// Cost      one row at a time beside the model
/// Source    llama.cpp's names of keys and tensors (gguf-py/gguf/constants.py)
inline void write_model(const std::filesystem::path& target, const Transformer& model, const GgufFile& tokenizer, DType type) {
    struct FileType {
        DType type;
        std::uint32_t number;
    };
    constexpr std::array known{FileType{DType::f32, 0}, FileType{DType::f16, 1}, FileType{DType::bf16, 32},
                               FileType{DType::q8_0, 7}, FileType{DType::q4_0, 2}};  // as llama.cpp numbers them
    const auto* const file_type = std::ranges::find(known, type, &FileType::type);
    if (file_type == known.end()) {
        FLASHBACK_THROW(ErrorCode::unsupported, "a model cannot be written as ", layout_of(type).name,
                        ", expected F32, F16, BF16, Q8_0 or Q4_0");
    }
    const TransformerConfig& c = model.config;
    const auto count = [](std::size_t n) { return static_cast<std::uint32_t>(n); };
    GgufWriter writer{target};
    writer.set("general.architecture", "llama")
        .set("general.name", c.name)
        .set("general.file_type", file_type->number)
        .set("general.quantization_version", 2u)
        .set("llama.vocab_size", count(c.vocab))
        .set("llama.context_length", count(c.window))
        .set("llama.embedding_length", count(c.width))
        .set("llama.block_count", count(c.layers))
        .set("llama.feed_forward_length", count(c.hidden))
        .set("llama.attention.head_count", count(c.heads))
        .set("llama.attention.head_count_kv", count(c.kv_heads))
        .set("llama.attention.key_length", count(c.head_dim))
        .set("llama.attention.value_length", count(c.head_dim))
        .set("llama.attention.layer_norm_rms_epsilon", c.norm_epsilon)
        .set("llama.rope.dimension_count", count(c.rotary_dim))
        .set("llama.rope.freq_base", static_cast<float>(c.rotary_base))
        .copy_metadata(tokenizer, "tokenizer.");
    if (!model.text_ends.empty())
        writer.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(model.text_ends.front()));
    detail::ModelWriter{model, type, writer}.write();
    writer.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file From a model to a GGUF file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/detail/gguf_place.hpp"
#include "flashback/files/detail/write_vocabulary.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The tensors of a model as they stand in a file. Each consists of rows of one or more of ours.
class ModelWriter {
public:
    ModelWriter(const Transformer& model, DType type, GgufWriter& writer) : type_(type), writer_(writer) {
        const TransformerConfig& c = model.config;
        if (!c.rotary_factors.empty()) at("rope_freqs.weight").vectors.push_back({{}, &c.rotary_factors});
        each_tensor(
            model,
            [&](const TensorId& id, std::size_t outputs, std::size_t, const simd::PackedMatrix& matrix) {
                const GgufPlace place = gguf_place(c, id, outputs);
                at(place.tensor).matrices.push_back({place, &matrix});
            },
            [&](const TensorId& id, std::size_t count, const std::vector<float>& vector) {
                const GgufPlace place = gguf_place(c, id, count);
                at(place.tensor).vectors.push_back({place, &vector});
            });
    }

    /// Announces all tensors, then writes them in the same order.
    void write() {
        for (const Tensor& tensor : tensors_) {
            std::uint64_t rows = 0;
            for (const auto& [place, matrix] : tensor.matrices) rows += matrix->outputs();
            for (const auto& [place, vector] : tensor.vectors) rows += vector->size();
            if (tensor.matrices.empty()) {
                writer_.add_tensor(tensor.name, std::array{rows}, DType::f32);
            } else {
                const std::array<std::uint64_t, 2> sides{tensor.matrices.front().second->inputs(), rows};
                writer_.add_tensor(tensor.name, sides, type_of(tensor.name, sides[0]));
            }
        }
        for (const Tensor& tensor : tensors_) {
            for (const auto& [place, matrix] : tensor.matrices) put(tensor.name, place, *matrix);
            for (const auto& [place, vector] : tensor.vectors) put(tensor.name, place, *vector);
        }
    }

private:
    struct Tensor {
        std::string name;
        std::vector<std::pair<GgufPlace, const simd::PackedMatrix*>> matrices;
        std::vector<std::pair<GgufPlace, const std::vector<float>*>> vectors;
    };

    Tensor& at(const std::string& name) {
        const auto there = std::ranges::find(tensors_, name, &Tensor::name);
        return there != tensors_.end() ? *there : tensors_.emplace_back(Tensor{name, {}, {}});
    }

    /// A table of positions has very few bytes, and llama.cpp reads it as floats. Rows that cannot be cut into whole blocks
    /// become f16, as when llama.cpp quantises.
    DType type_of(const std::string& name, std::uint64_t row) const {
        if (name == "position_embd.weight") return DType::f32;
        return row % layout_of(type_).block_elements == 0 ? type_ : DType::f16;
    }

    void put(const std::string& name, const GgufPlace& place, const std::vector<float>& vector) const {
        std::vector<float> theirs(vector.size());
        for (std::size_t i = 0; i < vector.size(); ++i) theirs[i] = vector[place.ours(i)];
        check(name, theirs, DType::f32);
        writer_.write(std::as_bytes(std::span{theirs}));
    }
    void put(const std::string& name, const GgufPlace& place, const simd::PackedMatrix& matrix) const {
        const DType type = type_of(name, matrix.inputs());
        const DTypeLayout layout = layout_of(type);
        std::vector<float> row(matrix.inputs());
        std::vector<std::byte> bytes(matrix.inputs() / layout.block_elements * layout.block_bytes);
        for (std::size_t o = 0; o < matrix.outputs(); ++o) {
            matrix.row(place.ours(o), row.data());
            quantize(type, row.data(), row.size(), bytes.data());
            dequantize(type, bytes.data(), row.size(), row.data());
            check(name, row, type);
            writer_.write(bytes);
        }
    }

    static void check(const std::string& name, const std::vector<float>& values, DType type) {
        if (std::ranges::all_of(values, [](float x) { return std::isfinite(x); })) return;
        FLASHBACK_THROW(ErrorCode::format, "a weight of ", name, " is not a finite number as ", layout_of(type).name,
                        ", expected one that can be written");
    }

    DType type_;
    GgufWriter& writer_;
    std::vector<Tensor> tensors_;
};

/// `write_tokenizer(writer)` sets the keys of the tokenizer.
template <class WriteTokenizer>
void write_gguf(const std::filesystem::path& target, const Transformer& model, DType type,
                const WriteTokenizer& write_tokenizer) {
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
    check_gguf_writable(c);
    GgufWriter writer{target};
    const std::string architecture{gguf_architecture(c.family)};
    const auto set = [&](const char* key, auto value) { writer.set(architecture + '.' + key, value); };
    writer.set("general.architecture", architecture)
        .set("general.name", c.name)
        .set("general.file_type", file_type->number)
        .set("general.quantization_version", 2u);
    set("vocab_size", count(c.vocab));
    set("context_length", count(c.window));
    set("embedding_length", count(c.width));
    set("block_count", count(c.layers));
    set("feed_forward_length", count(c.hidden));
    set("attention.head_count", count(c.heads));
    set("attention.head_count_kv", count(c.kv_heads));
    set("attention.key_length", count(c.head_dim));
    set("attention.value_length", count(c.head_dim));
    set(c.norm == Norm::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", c.norm_epsilon);
    if (c.positions == Positions::rotary) {
        set("rope.dimension_count", count(c.rotary_dim));
        set("rope.freq_base", static_cast<float>(c.rotary_base));
        if (c.rotary_linear != 1) {
            set("rope.scaling.type", std::string_view{"linear"});
            set("rope.scaling.factor", static_cast<float>(c.rotary_linear));
        }
    }
    write_tokenizer(writer);
    if (!model.text_ends.empty())
        writer.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(model.text_ends.front()));
    ModelWriter{model, type, writer}.write();
    writer.finish();
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void check_gguf_writable(const TransformerConfig& c) {
    const auto refuse = [&](const auto&... what) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the model '", printable(c.name), "' cannot be written as GGUF: ", what...);
    };
    if (!c.causal) refuse("it is an encoder, and these are only read");
    if (detail::gguf_architecture(c.family).empty())
        refuse("the format has no architecture for OPT, expected Llama, Qwen2 or GPT-2");
    const TransformerConfig usual = choices_of(c.family);
    const bool same = c.norm == usual.norm && c.post_norm == usual.post_norm && c.final_norm == usual.final_norm &&
                      c.positions == usual.positions && c.position_offset == usual.position_offset &&
                      c.activation == usual.activation && c.gated == usual.gated && c.embedding_width == usual.embedding_width;
    const bool biases = c.qkv_bias == usual.qkv_bias && c.output_bias == usual.output_bias && c.ffn_bias == usual.ffn_bias;
    if (!same || (!biases && detail::gguf_architecture(c.family) != "llama"))
        refuse("the architecture '", detail::gguf_architecture(c.family),
               "' has other norms, positions, biases or activations");
    if (!c.rotary_factors.empty() && detail::gguf_architecture(c.family) != "llama")
        refuse("the architecture '", detail::gguf_architecture(c.family), "' has no factors of rotary frequencies");
}

FLASHBACK_DETAIL_ONCE void write_model(const std::filesystem::path& target, const Transformer& model, const GgufFile& tokenizer,
                                       DType type) {
    detail::write_gguf(target, model, type, [&](GgufWriter& writer) { writer.copy_metadata(tokenizer, "tokenizer."); });
}

FLASHBACK_DETAIL_ONCE void write_model(const std::filesystem::path& target, const Transformer& model,
                                       const Vocabulary* vocabulary, DType type) {
    detail::write_gguf(target, model, type, [&](GgufWriter& writer) {
        if (vocabulary) detail::write_vocabulary(*vocabulary, model.config.vocab, writer);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Turns a GGUF LoRA into an adapter.
#pragma once

#include "flashback/files/detail/adapter_modules.hpp"
#include "flashback/files/detail/gguf_place.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/tensor/dequantize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Rotary rows in GGUF: its `llama` pairs neighbours, its `qwen2` pairs halves.
inline RotaryRows gguf_rows(const TransformerConfig& c) noexcept {
    return c.family == Family::qwen2 ? RotaryRows::halves : RotaryRows::pairs;
}

inline std::vector<FileModule> gguf_modules(const TransformerConfig& c, std::size_t layer) {
    return file_modules(c, [&](LinearModule m) { return gguf_place(c, TensorId::of(m, layer), c.outputs(m)).tensor; });
}

/// From a file to an adapter.
/// Source    ggml-org/llama.cpp, src/llama-adapter.cpp and llama-graph.cpp: there is one alpha for the whole file; the scale is
///           alpha / rank, or 1 without an alpha; what is added to an embedding is B A[token], and A has a row for every token
class GgufAdapterLoader {
public:
    GgufAdapterLoader(const GgufFile& file, const Transformer& model) : file_(file), model_(model), c_(model.config) {}

    Adapter load() {
        check_metadata();
        std::vector<AdapterLayer> layers(c_.layers);
        bool any = false;
        for (std::size_t l = 0; l < c_.layers; ++l) {
            for (const FileModule& module : gguf_modules(c_, l)) {
                if (!has_pair(module.name)) continue;
                LoraPair pair;
                const std::string a = module.name + ".lora_a";
                pair.rank = static_cast<std::size_t>(tensor(a).dims[1]);
                pair.scale = scale(pair.rank);
                pair.a = take(a, pair.rank, inputs(c_, module));
                pair.b = take(module.name + ".lora_b", outputs(c_, module), pair.rank);
                divide(c_, module, pair, gguf_rows(c_), layers[l]);
                any = true;
            }
        }
        if (any) adapter_.layers = std::move(layers);
        if (has_pair(to_string({TensorRole::embedding}))) take_embedding();
        for (const GgufTensor& t : file_.tensors()) {
            if (!taken_.contains(t.name)) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "' has the tensor ", printable(t.name),
                                ", for which this model has no place");
            }
        }
        if (!any && adapter_.embedding_ids.empty()) refuse("is an adapter that changes nothing of this model");
        return std::move(adapter_);
    }

private:
    void check_metadata() {
        const auto expect = [&](const char* key, std::string_view expected) {
            const auto found = file_.text(key);
            if (found != expected) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "' has ",
                                found ? "'" + printable(*found) + "'" : std::string{"nothing"}, " for ", key, ", expected '",
                                expected, '\'');
            }
        };
        expect("general.type", "adapter");
        expect("adapter.type", "lora");
        const std::string_view architecture = gguf_architecture(c_.family);
        if (architecture.empty()) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(),
                            "' is a GGUF adapter, but there are none for the family of this model, which GGUF has not");
        }
        expect("general.architecture", architecture);
        for (const auto& [key, value] : file_.metadata()) {
            if (!key.starts_with("adapter.") || key == "adapter.type" || key == "adapter.lora.alpha") continue;
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "' has the key ", printable(key),
                            ", which may change the arithmetic and is not implemented");
        }
        alpha_ = file_.real("adapter.lora.alpha").value_or(0);
        if (!(std::abs(alpha_) <= static_cast<double>(std::numeric_limits<float>::max())))
            refuse("has ", alpha_, " for adapter.lora.alpha, expected a number");
    }

    float scale(std::size_t rank) const noexcept {
        return alpha_ == 0 ? 1.0f : static_cast<float>(alpha_ / static_cast<double>(rank));
    }

    bool has_pair(const std::string& name) const {
        const bool a = file_.tensor(name + ".lora_a") != nullptr;
        const bool b = file_.tensor(name + ".lora_b") != nullptr;
        if (a != b) refuse("lacks the tensor ", name, a ? ".lora_b" : ".lora_a", ", but has the other of the pair");
        return a;
    }

    const GgufTensor& tensor(const std::string& name) const {
        const GgufTensor& t = *file_.tensor(name);
        if (t.dims[2] != 1 || t.dims[3] != 1)
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': tensor ", name, " has ", t.rank,
                            " dimensions, expected 2");
        return t;
    }

    /// A tensor as floats.
    /// Shape     (outputs, inputs) row-major
    std::vector<float> take(const std::string& name, std::size_t outputs, std::size_t inputs) {
        const GgufTensor& t = tensor(name);
        if (t.dims[0] != inputs || t.dims[1] != outputs) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': tensor ", name, " has the shape ", t.dims[0], " x ",
                            t.dims[1], ", expected ", inputs, " x ", outputs);
        }
        if (!can_dequantize(t.type)) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "': tensor ", name, " has the element type ",
                            layout_of(t.type).name, ", expected F32, F16, BF16 or Q8_0");
        }
        std::vector<float> values(outputs * inputs);  // the file has as many
        dequantize(t.type, t.data.data(), values.size(), values.data());
        if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': tensor ", name,
                            " has a value that is not a finite number");
        }
        taken_.insert(t.name);
        return values;
    }

    /// What the pair adds to rows of the embedding, as rows that replace them.
    void take_embedding() {
        const std::string name = to_string({TensorRole::embedding});
        const auto rank = static_cast<std::size_t>(tensor(name + ".lora_b").dims[0]);
        const std::vector<float> a = take(name + ".lora_a", c_.vocab, rank);
        const std::vector<float> b = take(name + ".lora_b", c_.row_width(), rank);
        const auto factor = static_cast<double>(scale(rank));
        std::vector<float> own(c_.row_width());
        std::vector<float> row(c_.row_width());
        for (std::size_t id = 0; id < c_.vocab; ++id) {
            const float* of_token = a.data() + id * rank;
            if (std::all_of(of_token, of_token + rank, [](float value) { return value == 0; })) continue;
            model_.embedding.row(id, own.data());
            for (std::size_t i = 0; i < row.size(); ++i) {
                double sum = 0;
                for (std::size_t k = 0; k < rank; ++k)
                    sum += static_cast<double>(of_token[k]) * static_cast<double>(b[i * rank + k]);
                row[i] = static_cast<float>(std::fma(factor, sum, static_cast<double>(own[i])));
            }
            if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); }))
                refuse("adds to the embedding of token ", id, " a value that is not a finite number");
            if (row == own) continue;
            adapter_.embedding_ids.push_back(static_cast<TokenId>(id));
            adapter_.embedding_rows.insert(adapter_.embedding_rows.end(), row.begin(), row.end());
        }
    }

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "' ", parts...);
    }

    const GgufFile& file_;
    const Transformer& model_;
    const TransformerConfig& c_;
    double alpha_ = 0;
    std::unordered_set<std::string_view> taken_;
    Adapter adapter_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

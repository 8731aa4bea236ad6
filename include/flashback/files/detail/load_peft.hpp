/// \file Turns the folder of a PEFT adapter into an adapter.
#pragma once

#include "flashback/files/detail/adapter_modules.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view peft_prefix = "base_model.model.";

/// The tensors of an adapter by name, each taken once with the shape that the model asks for.
class PeftTensors {
public:
    PeftTensors(const std::filesystem::path& folder, FileAccess access)
        : file_(SafetensorsFile::open(folder / peft_tensors_file, access)) {
        for (const SafeTensor& tensor : file_.tensors()) {
            if (!tensor.name.starts_with(peft_prefix)) continue;  // nobody takes it
            const auto [place, added] = by_name_.emplace(plain(tensor.name.substr(peft_prefix.size())), &tensor);
            if (!added) {
                refuse("has the tensors ", printable(place->second->name), " and ", printable(tensor.name),
                       ", which are the same");
            }
        }
    }

    const std::string& file() const noexcept { return file_.name(); }
    bool has(const std::string& name) const { return by_name_.contains(name); }

    /// The rows of a tensor, which must have two dimensions.
    std::size_t rows(const std::string& name) const {
        const auto found = by_name_.find(name);
        if (found == by_name_.end()) refuse("lacks the tensor ", peft_prefix, name);
        const SafeTensor& tensor = *found->second;
        if (tensor.shape.size() != 2) refuse_tensor(tensor, "has ", tensor.shape.size(), " dimensions, expected 2");
        return static_cast<std::size_t>(tensor.shape[0]);
    }

    /// Calls `row(i, values)` for every row of a tensor, in order; its pages of the file are given back on the way.
    /// Shape     (outputs, inputs) row-major
    template <class Row>
    void each_row(const std::string& name, std::size_t outputs, std::size_t inputs, const Row& row) {
        const std::size_t found = rows(name);
        const SafeTensor& tensor = *by_name_.at(name);
        if (found != outputs || tensor.shape[1] != inputs) {
            refuse_tensor(tensor, "has the shape ", tensor.shape[0], " x ", tensor.shape[1], ", expected ", outputs, " x ",
                          inputs);
        }
        if (tensor.type != DType::f32 && tensor.type != DType::f16 && tensor.type != DType::bf16) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file(), "': tensor ", tensor.name, " has the element type ",
                            tensor.dtype, ", expected F32, F16 or BF16");
        }
        taken_.insert(&tensor);
        const std::size_t row_bytes = inputs * layout_of(*tensor.type).block_bytes;
        std::vector<float> values(inputs);  // the file has as many
        std::size_t read = 0;
        for (std::size_t r = 0; r < outputs; ++r) {
            dequantize(*tensor.type, tensor.data.data() + r * row_bytes, inputs, values.data());
            if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
                refuse_tensor(tensor, "has a value that is not a finite number, in row ", r);
            row(r, values);
            const std::size_t end = (r + 1) * row_bytes;
            if (end - read < given_back_at_once) continue;
            file_.release(tensor.data.subspan(read, end - read));
            read = end;
        }
    }

    /// A tensor as floats.
    std::vector<float> take(const std::string& name, std::size_t outputs, std::size_t inputs) {
        std::vector<float> all;
        each_row(name, outputs, inputs,
                 [&](std::size_t, const std::vector<float>& row) { all.insert(all.end(), row.begin(), row.end()); });
        return all;
    }

    /// Refuses a file with tensors that nobody took; none is silently ignored.
    void refuse_others() const {
        for (const SafeTensor& tensor : file_.tensors()) {
            if (!taken_.contains(&tensor)) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file(), "' has the tensor ", printable(tensor.name),
                                ", for which this model has no place");
            }
        }
    }

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file(), "' ", parts...);
    }

private:
    template <class... Parts>
    [[noreturn]] void refuse_tensor(const SafeTensor& tensor, const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file(), "': tensor ", tensor.name, ' ', parts...);
    }

    /// The name without what PEFT puts into it when a state is saved without removing that.
    static std::string plain(std::string name) {
        for (const std::string_view part : {".modules_to_save", ".default"}) {
            const std::size_t at = name.find(part);
            const bool whole = at != name.npos && (at + part.size() == name.size() || name[at + part.size()] == '.');
            if (whole) name.erase(at, part.size());
        }
        return name;
    }

    static constexpr std::size_t given_back_at_once = std::size_t{1} << 20;

    SafetensorsFile file_;
    std::unordered_map<std::string, const SafeTensor*> by_name_;
    std::unordered_set<const SafeTensor*> taken_;
};

/// Compares rows with those of a matrix of the model, which may have rounded them.
class OwnRows {
public:
    explicit OwnRows(const simd::PackedMatrix& matrix) : matrix_(matrix), own_(matrix.inputs()), rounded_(matrix.inputs()) {
        if (can_quantize(matrix.type())) {
            const DTypeLayout layout = layout_of(matrix.type());
            bytes_.resize(matrix.inputs() / layout.block_elements * layout.block_bytes);
        }
    }

    std::size_t count() const noexcept { return matrix_.outputs(); }

    /// Whether a row is the model's own, as it is or rounded to the model's type.
    bool has(std::size_t index, const std::vector<float>& row) {
        if (index >= count()) return false;
        matrix_.row(index, own_.data());
        if (row == own_) return true;
        if (bytes_.empty()) return false;
        quantize(matrix_.type(), row.data(), row.size(), bytes_.data());
        dequantize(matrix_.type(), bytes_.data(), row.size(), rounded_.data());
        return rounded_ == own_;
    }

private:
    const simd::PackedMatrix& matrix_;
    std::vector<float> own_, rounded_;
    std::vector<std::byte> bytes_;
};

/// From a folder to an adapter.
class PeftLoader {
public:
    PeftLoader(const std::filesystem::path& folder, const Transformer& model, std::size_t tokens, FileAccess access)
        : config_(read_peft_config(folder)),
          tensors_(folder, access),
          model_(model),
          c_(model.config),
          tokens_(std::max(tokens, model.config.vocab)) {}

    Adapter load() {
        std::vector<AdapterLayer> layers(c_.layers);
        for (std::size_t l = 0; l < c_.layers; ++l) {
            for (const FileModule& module : peft_modules(c_, l)) take_pair(module, layers[l]);
        }
        if (pairs_ > 0) adapter_.layers = std::move(layers);
        take_trained_rows();
        take_whole_embedding();
        check_head();
        tensors_.refuse_others();
        if (pairs_ == 0 && adapter_.embedding_ids.empty()) tensors_.refuse("is an adapter that changes nothing of this model");
        return std::move(adapter_);
    }

private:
    void take_pair(const FileModule& module, AdapterLayer& layer) {
        const std::string a = module.name + ".lora_A.weight";
        const std::string b = module.name + ".lora_B.weight";
        const bool target = config_.targets(module.name);
        if (!tensors_.has(a) && !tensors_.has(b)) {
            if (target && !config_.open()) tensors_.refuse("has no tensors for ", module.name, ", which is a target module");
            return;
        }
        if (!target) tensors_.refuse("has tensors for ", module.name, ", which is no target module");
        LoraPair pair;
        pair.rank = config_.rank_of(module.name);
        if (const std::size_t rows = tensors_.rows(a); rows != pair.rank) {
            FLASHBACK_THROW(ErrorCode::format, "'", tensors_.file(), "': tensor ", peft_prefix, a, " has the rank ", rows,
                            ", but the configuration says ", pair.rank);
        }
        pair.scale = static_cast<float>(config_.scale_of(module.name));
        pair.a = tensors_.take(a, pair.rank, inputs(c_, module));
        pair.b = tensors_.take(b, outputs(c_, module), pair.rank);
        divide(c_, module, pair, RotaryRows::halves, layer);
        ++pairs_;
    }

    void put_row(std::size_t id, const std::vector<float>& row) {
        adapter_.embedding_ids.push_back(static_cast<TokenId>(id));
        adapter_.embedding_rows.insert(adapter_.embedding_rows.end(), row.begin(), row.end());
    }

    /// Refuses rows of tokens that neither the model nor the vocabulary has.
    void check_token(std::size_t token, const std::string& name) const {
        if (token < tokens_) return;
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", tensors_.file(), "' has the tensor ", peft_prefix, name,
                        " with a row for the token ", token, ", but the model has ", c_.vocab, " rows and the vocabulary ",
                        tokens_, " tokens");
    }

    void take_trained_rows() {
        const std::string name = peft_embedding(c_) + ".token_adapter.trainable_tokens_delta";
        if (config_.token_indices.empty()) return;
        for (const TokenId id : config_.token_indices) check_token(static_cast<std::size_t>(id), name);
        tensors_.each_row(name, config_.token_indices.size(), c_.row_width(),
                          [&](std::size_t i, const std::vector<float>& row) {
                              put_row(static_cast<std::size_t>(config_.token_indices[i]), row);
                          });
        check_new_rows(name);
    }

    /// Reads the whole embedding row by row, and keeps the rows that are not the model's own.
    void take_whole_embedding() {
        const std::string name = peft_embedding(c_) + ".weight";
        if (!config_.whole_embedding && !tensors_.has(name)) return;
        const std::size_t rows = tensors_.rows(name);
        if (rows > 0) check_token(rows - 1, name);
        const std::unordered_set<TokenId> trained{adapter_.embedding_ids.begin(), adapter_.embedding_ids.end()};
        OwnRows own{model_.embedding};
        tensors_.each_row(name, std::max(rows, c_.vocab), c_.row_width(), [&](std::size_t id, const std::vector<float>& row) {
            if (own.has(id, row)) return;
            if (trained.contains(static_cast<TokenId>(id))) tensors_.refuse("replaces the embedding row ", id, " twice");
            put_row(id, row);
        });
    }

    /// An output head that was saved beside the embedding is not used: the model's stays. Its additional rows would be logits
    /// that the model does not have.
    void check_head() {
        const std::string name = "lm_head.weight";
        if (!tensors_.has(name)) return;
        const std::size_t rows = tensors_.rows(name);
        if (rows > 0) check_token(rows - 1, name);
        OwnRows own{model_.output_matrix()};
        tensors_.each_row(
            name, std::max(rows, own.count()), c_.row_width(), [&](std::size_t id, const std::vector<float>& row) {
                if (id < own.count() && !own.has(id, row)) {
                    FLASHBACK_THROW(ErrorCode::unsupported, "'", tensors_.file(), "' has the tensor ", peft_prefix, name,
                                    ", whose row ", id, " is not the model's: an output head cannot be replaced");
                }
            });
    }

    void check_new_rows(const std::string& name) const {
        const std::size_t added = new_tokens(adapter_, c_.vocab);
        for (const TokenId id : adapter_.embedding_ids) {
            if (static_cast<std::size_t>(id) < c_.vocab + added) continue;
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", tensors_.file(), "' has the tensor ", peft_prefix, name,
                            " with a row for the token ", id, ", but the model has ", c_.vocab,
                            " rows, and new ones follow on without a gap");
        }
    }

    PeftConfig config_;
    PeftTensors tensors_;
    const Transformer& model_;
    const TransformerConfig& c_;
    std::size_t tokens_;
    std::size_t pairs_ = 0;
    Adapter adapter_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

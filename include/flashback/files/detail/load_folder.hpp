/// \file Turns the files of a Hugging Face folder into a model.
#pragma once

#include "flashback/files/config_json.hpp"
#include "flashback/files/detail/folder_names.hpp"
#include "flashback/files/detail/rotary_rows.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/json_fields.hpp"
#include "flashback/format/safetensors_folder.hpp"
#include "flashback/format/tokenizer_files.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/tensor/dequantize.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Takes the tensors of a folder one by one, each with the shape that the hyper-parameters ask for.
class FolderWeights {
public:
    FolderWeights(const SafetensorsFolder& files, const TransformerConfig& config, ExecutorRef executor)
        : files_(files), config_(config), executor_(executor) {
        const std::string first = folder_tensor(config, {TensorRole::attention_norm}).name;
        const auto prefixes = folder_prefixes(config.family);
        longest_ = prefix_ = prefixes.front();
        for (const std::string_view prefix : prefixes) {
            if (!has(std::string{prefix} + first.substr(longest_.size()))) continue;
            prefix_ = prefix;
            break;
        }
    }

    bool has(const std::string& name) const { return files_.tensor(name) != nullptr; }
    /// The name of a tensor in these files.
    std::string name_of(const std::string& longest) const { return std::string{prefix_} + longest.substr(longest_.size()); }

    void vector(const TensorId& id, std::size_t count, std::vector<float>& to) {
        const FolderTensor place = folder_tensor(config_, id);
        const SafeTensor& tensor = take(name_of(place.name), {count * place.parts});
        const std::byte* from = tensor.data.data() + place.part * count * layout_of(*tensor.type).block_bytes;
        std::vector<float> values(count);
        dequantize(*tensor.type, from, count, values.data());
        to.resize(count);
        for (std::size_t i = 0; i < count; ++i) to[row_of(place, i)] = values[i];
    }

    void matrix(const TensorId& id, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
        const FolderTensor place = folder_tensor(config_, id);
        matrix(place, name_of(place.name), outputs, inputs, to);
    }
    void matrix(const FolderTensor& place, const std::string& name, std::size_t outputs, std::size_t inputs,
                simd::PackedMatrix& to) {
        const std::uint64_t all = outputs * place.parts;
        const SafeTensor& tensor = place.transposed ? take(name, {inputs, all}) : take(name, {all, inputs});
        const std::size_t bytes = layout_of(*tensor.type).block_bytes;
        const std::size_t first_output = place.part * outputs;
        simd::PackedMatrix packed{*tensor.type, outputs, inputs};
        executor_.run_ranges(outputs, simd::panel_outputs, [&](std::size_t first, std::size_t last) {
            std::vector<std::byte> row(inputs * bytes);  // in the file, bytes may stand at any address
            for (std::size_t o = first; o < last; ++o) {
                const std::byte* from = tensor.data.data();
                if (place.transposed) {
                    from += (first_output + o) * bytes;
                    for (std::size_t i = 0; i < inputs; ++i, from += all * bytes)
                        std::memcpy(row.data() + i * bytes, from, bytes);
                } else {
                    std::memcpy(row.data(), from + (first_output + o) * row.size(), row.size());
                }
                packed.set_row(row_of(place, o), row.data());
            }
        });
        if (place.part + 1 == place.parts) files_.release(tensor.data);
        to = std::move(packed);
    }

    /// Whether two tensors have the same shape, type and bytes.
    bool same(const std::string& a, const std::string& b) const {
        const SafeTensor& x = *files_.tensor(a);
        const SafeTensor& y = *files_.tensor(b);
        return x.dtype == y.dtype && x.shape == y.shape && std::ranges::equal(x.data, y.data);
    }
    void ignore(const std::string& name) { taken_.insert(name); }

    /// Refuses a folder with tensors that nobody took: if they were known, they would change the result.
    void refuse_others() const {
        for (const SafeTensor* tensor : files_.tensors()) {
            if (taken_.contains(tensor->name) || is_known_buffer(config_.family, tensor->name)) continue;
            FLASHBACK_THROW(ErrorCode::unsupported, "'", files_.name(), "' has the tensor ", printable(tensor->name),
                            ", which is not known for a model of this architecture");
        }
    }

private:
    /// Where a row of the file stands in ours.
    std::size_t row_of(const FolderTensor& place, std::size_t row) const {
        return place.module ? row_from_halves(config_, *place.module, row) : row;
    }

    const SafeTensor& take(const std::string& name, const std::vector<std::uint64_t>& shape) {
        const SafeTensor* tensor = files_.tensor(name);
        if (!tensor) FLASHBACK_THROW(ErrorCode::format, "'", files_.name(), "' lacks the tensor ", name);
        if (tensor->shape != shape) {
            FLASHBACK_THROW(ErrorCode::format, "'", files_.name(), "': tensor ", name, " has the shape ",
                            text_of(tensor->shape), ", but the configuration says ", text_of(shape));
        }
        if (tensor->type != DType::f32 && tensor->type != DType::f16 && tensor->type != DType::bf16) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", files_.name(), "': tensor ", name, " has the element type ",
                            tensor->dtype, ", expected F32, F16 or BF16");
        }
        taken_.insert(tensor->name);
        return *tensor;
    }
    static std::string text_of(const std::vector<std::uint64_t>& shape) {
        std::string text;
        for (const std::uint64_t side : shape) text += (text.empty() ? "" : " x ") + std::to_string(side);
        return text.empty() ? "of a single number" : text;
    }

    const SafetensorsFolder& files_;
    const TransformerConfig& config_;
    ExecutorRef executor_;
    std::string_view longest_, prefix_;
    std::unordered_set<std::string> taken_;
};

/// Embedding and head. If they are tied, a file may have either of them, or both if they are equal.
inline void take_embedding_and_head(FolderWeights& weights, const ModelConfig& config, const std::string& folder,
                                    Transformer& model) {
    const TransformerConfig& c = model.config;
    constexpr const char* head = "lm_head.weight";
    const std::string embedding = weights.name_of(folder_tensor(c, {TensorRole::embedding}).name);
    const bool head_alone = config.tied && !weights.has(embedding) && weights.has(head);
    weights.matrix({}, head_alone ? head : embedding, c.vocab, c.row_width(), model.embedding);
    if (!config.tied) {
        weights.matrix({}, head, c.vocab, c.row_width(), model.head.emplace());
    } else if (!head_alone && weights.has(head)) {
        if (!weights.same(embedding, head)) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", folder, "' has tied ", head,
                            " to the embedding (tie_word_embeddings), "
                            "but the two tensors differ");
        }
        weights.ignore(head);
    }
}

/// The tokens that end a text: those of config.json, generation_config.json and the tokenizer.
inline std::vector<TokenId> text_ends_of(const std::filesystem::path& folder, const ModelConfig& config) {
    std::vector<TokenId> ends = config.ends;
    const OptionalJson generation{folder, "generation_config.json"};
    const JsonFields fields = generation.fields();
    for (const TokenId id : fields.tokens("eos_token_id")) ends.push_back(id);
    std::vector<TokenId> once;
    for (const TokenId id : ends) {
        if (std::ranges::find(once, id) == once.end()) once.push_back(id);
    }
    return once;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE std::shared_ptr<const Transformer> load_model_folder(const std::filesystem::path& folder,
                                                                           ExecutorRef executor, FileAccess access) {
    const std::string config_file = (folder / "config.json").string();
    const ModelConfig config = parse_config_json(MappedFile{config_file}.text(), config_file);
    const SafetensorsFolder files = SafetensorsFolder::open(folder, access);
    auto model = std::make_shared<Transformer>();
    model->config = config.shape;
    const TransformerConfig& c = model->config;
    if (model->config.name.empty()) model->config.name = std::filesystem::weakly_canonical(folder).filename().string();
    // The number of layers in a damaged file must not reserve memory: there are at least as many tensors as layers.
    if (c.layers > files.tensors().size()) {
        FLASHBACK_THROW(ErrorCode::format, "'", config_file, "' says that there are ", c.layers,
                        " layers, but the weights have ", files.tensors().size(), " tensors");
    }
    detail::FolderWeights weights{files, c, executor};
    model->layers.resize(c.layers);
    detail::take_embedding_and_head(weights, config, files.name(), *model);
    each_tensor(
        *model,
        [&](const TensorId& id, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
            if (id.role != TensorRole::embedding && id.role != TensorRole::head) weights.matrix(id, outputs, inputs, to);
        },
        [&](const TensorId& id, std::size_t count, std::vector<float>& to) { weights.vector(id, count, to); });
    weights.refuse_others();
    model->rotary_frequencies = rotary_frequencies_of(c);
    model->fingerprint = flashback::fingerprint(*model, executor);
    model->text_ends = detail::text_ends_of(folder, config);
    if (c.causal && has_tokenizer_files(folder)) {
        const Vocabulary vocabulary = read_tokenizer_files(folder);
        if (vocabulary.size() > c.vocab) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", folder.string(), "' has ", vocabulary.size(), " tokens, but only ",
                            c.vocab, " embedding rows");
        }
        if (vocabulary.add_bos) model->text_head.push_back(*vocabulary.bos);
        if (model->text_ends.empty() && vocabulary.eos) model->text_ends.push_back(*vocabulary.eos);
    }
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA

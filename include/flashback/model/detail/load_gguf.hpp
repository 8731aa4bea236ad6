/// \file How the keys and tensors of a GGUF file become hyper-parameters, a vocabulary and weights.
#pragma once

#include "flashback/core/dequantize.hpp"
#include "flashback/core/quantize.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "flashback/model/load.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The keys of one architecture in a GGUF file.
class GgufKeys {
public:
    GgufKeys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(std::string{architecture} + '.') {}

    std::string key(std::string_view name) const { return prefix_ + std::string{name}; }

    /// A number from 1 to 2^31 - 1: no tensor of a real model has a longer side, and products of two of them cannot wrap.
    std::size_t count(std::string_view name) const {
        const auto value = file_.integer(key(name));
        if (!value) FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "' lacks the key ", key(name));
        return checked(name, *value);
    }
    std::size_t count(std::string_view name, std::size_t absent) const {
        const auto value = file_.integer(key(name));
        return value ? checked(name, *value) : absent;
    }

private:
    std::size_t checked(std::string_view name, std::uint64_t value) const {
        if (value == 0 || value > std::numeric_limits<std::int32_t>::max()) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': ", key(name), " is ", value,
                            ", expected 1 to 2147483647");
        }
        return static_cast<std::size_t>(value);
    }

    const GgufFile& file_;
    std::string prefix_;
};

/// Takes the tensors of a file one by one, each with the shape that the hyper-parameters ask for.
class GgufWeights {
public:
    GgufWeights(const GgufFile& file, ExecutorRef executor) : file_(file), executor_(executor) {}

    bool has(const std::string& name) const { return file_.tensor(name) != nullptr; }

    std::vector<float> vector(const std::string& name, std::size_t count) {
        const GgufTensor& tensor = take(name, 1, {count, 1});
        std::vector<float> values(count);
        dequantize(tensor.type, tensor.data.data(), count, values.data());
        return values;
    }

    simd::PackedMatrix matrix(const std::string& name, std::size_t outputs, std::size_t inputs) {
        const GgufTensor& tensor = take(name, 2, {inputs, outputs});
        const bool as_it_is = simd::PackedMatrix::takes(tensor.type);
        if (!as_it_is) ++converted_[tensor.type];
        const DTypeLayout layout = layout_of(tensor.type);
        const std::size_t row_bytes = inputs / layout.block_elements * layout.block_bytes;
        simd::PackedMatrix packed{as_it_is ? tensor.type : DType::q8_0, outputs, inputs};
        executor_.run_ranges(outputs, simd::panel_outputs, [&](std::size_t first, std::size_t last) {
            std::vector<float> values(as_it_is ? 0 : inputs);
            std::vector<std::byte> blocks(as_it_is ? 0 : inputs / 32 * sizeof(BlockQ8_0));
            for (std::size_t begin = first; begin < last; begin += rows_at_once) {
                const std::size_t end = std::min(begin + rows_at_once, last);
                for (std::size_t o = begin; o < end; ++o) {
                    const std::byte* row = tensor.data.data() + o * row_bytes;
                    if (!as_it_is) {
                        dequantize(tensor.type, row, inputs, values.data());
                        quantize(DType::q8_0, values.data(), inputs, blocks.data());
                        row = blocks.data();
                    }
                    packed.set_row(o, row);
                }
                file_.release(tensor.data.subspan(begin * row_bytes, (end - begin) * row_bytes));
            }
        });
        return packed;
    }

    /// A sentence for each type that is not run as it is.
    std::vector<std::string> notes() const {
        std::vector<std::string> sentences;
        for (const auto& [type, count] : converted_) {
            sentences.push_back("'" + file_.name() + "': " + std::to_string(count) + " tensors of type " +
                                std::string{layout_of(type).name} + " were converted to Q8_0");
        }
        return sentences;
    }

    /// That of the file.
    /// Requires  all tensors were taken
    std::uint64_t fingerprint() const {
        return fingerprint_of(file_, [&](const GgufTensor& tensor) { return taken_.at(tensor.name); });
    }

    /// Refuses a file with tensors that nobody took: they would change the result if they were known.
    void refuse_others() const {
        for (const GgufTensor& tensor : file_.tensors()) {
            if (!taken_.contains(tensor.name)) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "' has the tensor ", printable(tensor.name),
                                ", which is not known for a model of this architecture");
            }
        }
    }

private:
    const GgufTensor& take(const std::string& name, std::size_t rank, std::array<std::size_t, 2> dims) {
        const GgufTensor* tensor = file_.tensor(name);
        if (!tensor) FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "' lacks the tensor ", name);
        if (tensor->rank != rank || tensor->dims[0] != dims[0] || tensor->dims[1] != dims[1]) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': tensor ", name, " has ", tensor->rank,
                            " dimensions, the first two ", tensor->dims[0], " x ", tensor->dims[1], "; expected ", rank, ": ",
                            dims[0], " x ", dims[1]);
        }
        if (!can_dequantize(tensor->type)) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "': tensor ", name, " has type ",
                            layout_of(tensor->type).name,
                            ", expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K");
        }
        taken_.emplace(tensor->name, flashback::fingerprint(*tensor));  // now: its pages are given back while it is repacked
        return *tensor;
    }

    static constexpr std::size_t rows_at_once = 128;  // between two times that pages of the file are given back

    const GgufFile& file_;
    ExecutorRef executor_;
    std::map<std::string_view, std::uint64_t> taken_;  // and their hashes
    std::map<DType, std::size_t> converted_;
};

}  // namespace detail

inline Vocabulary read_vocabulary(const GgufFile& file) {
    const auto pieces = file.strings("tokenizer.ggml.tokens");
    if (!pieces)
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' has no vocabulary (the key tokenizer.ggml.tokens)");
    Vocabulary v;
    v.model = file.text("tokenizer.ggml.model").value_or("");
    v.pieces.assign(pieces->begin(), pieces->end());
    v.scores = file.numbers<float>("tokenizer.ggml.scores").value_or(std::vector<float>(v.size()));
    v.pre = file.text("tokenizer.ggml.pre").value_or("");
    if (const auto merges = file.strings("tokenizer.ggml.merges")) {
        v.merges.assign(merges->begin(), merges->end());
    } else if (v.model == "gpt2") {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(),
                        "' has a vocabulary of byte-level BPE without merges (the key tokenizer.ggml.merges)");
    }
    const auto kinds = file.numbers<std::int32_t>("tokenizer.ggml.token_type");
    v.kinds.assign(v.size(), TokenKind::normal);
    if (kinds) {
        if (kinds->size() != v.size()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' has ", v.size(), " tokens, but ", kinds->size(),
                            " token types");
        }
        for (std::size_t i = 0; i < v.size(); ++i) {
            const std::int32_t kind = (*kinds)[i];
            if (kind < 1 || kind > 6)
                FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "': token ", i, " has type ", kind,
                                ", expected 1 to 6");
            v.kinds[i] = static_cast<TokenKind>(kind);
        }
    }
    const auto special = [&](const char* key) -> std::optional<TokenId> {
        const auto id = file.integer(key);
        if (!id) return {};
        if (*id >= v.size()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "': ", key, " is ", *id, ", but there are ", v.size(),
                            " tokens");
        }
        return static_cast<TokenId>(*id);
    };
    v.bos = special("tokenizer.ggml.bos_token_id");
    v.eos = special("tokenizer.ggml.eos_token_id");
    v.unknown = special("tokenizer.ggml.unknown_token_id");
    // Models of SentencePiece and Llama 3 say so only where they do without.
    const bool sentencepiece = v.model == "llama";
    const bool llama3 = v.model == "gpt2" && detail::find_pre_tokenizer(v.pre) == detail::PreTokenizer::llama_bpe;
    v.add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or((sentencepiece || llama3) && v.bos.has_value());
    if (v.add_bos && !v.bos) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' wants BOS in front of every text, but names no BOS token");
    }
    v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(sentencepiece);
    return v;
}

inline TransformerConfig read_config(const GgufFile& file) {
    const std::string architecture{file.text("general.architecture").value_or("")};
    if (architecture != "llama") {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "' has the architecture '", detail::printable(architecture),
                        "', expected 'llama'");
    }
    const detail::GgufKeys keys{file, architecture};
    const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "': ", parts...); };

    TransformerConfig c;
    c.name = file.text("general.name").value_or("");
    c.window = keys.count("context_length");
    c.width = keys.count("embedding_length");
    c.layers = keys.count("block_count");
    c.hidden = keys.count("feed_forward_length");
    c.heads = keys.count("attention.head_count");
    c.kv_heads = keys.count("attention.head_count_kv", c.heads);
    if (c.heads % c.kv_heads != 0) refuse(c.kv_heads, " heads of keys and values do not divide ", c.heads, " heads");
    if (!file.integer(keys.key("attention.key_length")) && c.width % c.heads != 0) {
        refuse("a width of ", c.width, " is no multiple of ", c.heads, " heads, and ", keys.key("attention.key_length"),
               " is absent");
    }
    c.head_dim = keys.count("attention.key_length", std::max<std::size_t>(c.width / c.heads, 1));
    if (const std::size_t value_length = keys.count("attention.value_length", c.head_dim); value_length != c.head_dim) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': values of ", value_length, " elements a head, expected ",
                        c.head_dim, " as keys have");
    }
    c.rotary_dim = keys.count("rope.dimension_count", c.head_dim);
    if (c.rotary_dim % 2 != 0 || c.rotary_dim > c.head_dim) {
        refuse(keys.key("rope.dimension_count"), " is ", c.rotary_dim, ", expected an even number up to ", c.head_dim);
    }
    c.rotary_base = file.real(keys.key("rope.freq_base")).value_or(10000.0);
    if (!(c.rotary_base > 0) || !std::isfinite(c.rotary_base))
        refuse(keys.key("rope.freq_base"), " is ", c.rotary_base, ", expected a number above 0");
    const auto epsilon = file.real(keys.key("attention.layer_norm_rms_epsilon"));
    if (!epsilon || !(*epsilon >= 0) || !std::isfinite(*epsilon)) {
        refuse(keys.key("attention.layer_norm_rms_epsilon"), epsilon ? " is negative or no number" : " is missing");
    }
    c.norm_epsilon = static_cast<float>(*epsilon);

    if (const auto scaling = file.text(keys.key("rope.scaling.type")); scaling && *scaling != "none") {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': rope scaling '", detail::printable(*scaling),
                        "', expected none");
    }
    for (const char* name : {"rope.scale_linear", "expert_count", "attention.sliding_window", "attention.clamp_kqv",
                             "logit_scale", "residual_scale", "embedding_scale", "attention.scale"}) {
        if (file.find(keys.key(name))) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "' has the key ", keys.key(name),
                            ", which changes the arithmetic and is not implemented");
        }
    }
    const GgufTensor* embedding = file.tensor("token_embd.weight");
    if (!embedding)
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' lacks the tensor token_embd.weight",
                        file.tensors().empty() ? ": it is a vocabulary without a model" : "");
    if (embedding->dims[1] > std::numeric_limits<std::int32_t>::max())
        refuse("token_embd.weight has ", embedding->dims[1], " rows, expected at most 2147483647");
    c.vocab = static_cast<std::size_t>(embedding->dims[1]);
    return c;
}

inline std::shared_ptr<const Transformer> load_model(const GgufFile& file, ExecutorRef executor) {
    auto model = std::make_shared<Transformer>();
    model->config = read_config(file);
    const TransformerConfig& c = model->config;
    // A layer count from a damaged file must not reserve anything: as many layers need as many tensors.
    if (c.layers > file.tensors().size()) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' says that it has ", c.layers, " layers, but has ",
                        file.tensors().size(), " tensors");
    }
    detail::GgufWeights weights{file, executor};
    const std::size_t q_width = c.heads * c.head_dim;
    const std::size_t kv_width = c.kv_heads * c.head_dim;
    model->embedding = weights.matrix("token_embd.weight", c.vocab, c.width);
    model->layers.reserve(c.layers);
    for (std::size_t l = 0; l < c.layers; ++l) {
        const std::string block = "blk." + std::to_string(l) + '.';
        TransformerLayer layer;
        layer.attention_norm = weights.vector(block + "attn_norm.weight", c.width);
        layer.q = weights.matrix(block + "attn_q.weight", q_width, c.width);
        layer.k = weights.matrix(block + "attn_k.weight", kv_width, c.width);
        layer.v = weights.matrix(block + "attn_v.weight", kv_width, c.width);
        layer.output = weights.matrix(block + "attn_output.weight", c.width, q_width);
        layer.ffn_norm = weights.vector(block + "ffn_norm.weight", c.width);
        layer.gate = weights.matrix(block + "ffn_gate.weight", c.hidden, c.width);
        layer.up = weights.matrix(block + "ffn_up.weight", c.hidden, c.width);
        layer.down = weights.matrix(block + "ffn_down.weight", c.width, c.hidden);
        model->layers.push_back(std::move(layer));
    }
    model->output_norm = weights.vector("output_norm.weight", c.width);
    if (weights.has("output.weight")) model->head = weights.matrix("output.weight", c.vocab, c.width);
    weights.refuse_others();
    model->fingerprint = weights.fingerprint();
    model->notes = weights.notes();

    model->rotary_frequencies = rotary_frequencies_of(c);
    if (file.find("tokenizer.ggml.tokens")) {
        const Vocabulary vocabulary = read_vocabulary(file);
        if (vocabulary.size() > c.vocab) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' has ", vocabulary.size(), " tokens, but only ", c.vocab,
                            " embedding rows");
        }
        if (vocabulary.add_bos) model->text_head.push_back(*vocabulary.bos);
        if (vocabulary.eos) model->text_ends.push_back(*vocabulary.eos);
    }
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA

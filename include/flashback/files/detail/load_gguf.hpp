/// \file Turns a GGUF file into a model.
#pragma once

#include "flashback/files/detail/cached_weights.hpp"
#include "flashback/files/detail/gguf_config.hpp"
#include "flashback/files/detail/gguf_vocabulary.hpp"
#include "flashback/files/detail/gguf_weights.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/tensors.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE std::shared_ptr<const Transformer> load_model(const GgufFile& file, const LoadOptions& options) {
    auto model = std::make_shared<Transformer>();
    model->config = read_config(file);
    const TransformerConfig& c = model->config;
    // The number of layers in a damaged file must not reserve memory: there are at least as many tensors as layers.
    if (c.layers > file.tensors().size()) {
        FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' says that it has ", c.layers, " layers, but has ",
                        file.tensors().size(), " tensors");
    }
    detail::GgufWeights weights{file};
    model->layers.resize(c.layers);
    if (weights.has("output.weight")) model->head.emplace();
    each_tensor(
        *model,
        [&](const TensorId& id, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& matrix) {
            weights.matrix(detail::gguf_place(c, id, outputs), outputs, inputs, matrix);
        },
        [&](const TensorId& id, std::size_t count, std::vector<float>& vector) {
            vector = weights.vector(detail::gguf_place(c, id, count), count);
        });
    if (!c.rotary_factors.empty()) weights.vector({"rope_freqs.weight", 0, c.rotary_dim / 2, nullptr, {}}, c.rotary_dim / 2);
    weights.refuse_others();
    model->notes = weights.notes();
    model->fingerprint = options.weights_cache.empty() ? weights.read(options.executor)
                                                       : detail::read_with_cache(file, weights, options, model->notes);

    model->rotary_frequencies = rotary_frequencies_of(c);
    if (c.causal && file.find("tokenizer.ggml.tokens")) {
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

/// \file The settings of a session.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"

#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a session.
struct SessionOptions {
    std::size_t window = 0;     ///< the most positions to hold; 0 = as many as the model was trained for, also the limit
    std::size_t piece = 256;    ///< tokens evaluated at once: limits the scratch memory, changes no bit of the logits
    ExecutorRef executor = {};  ///< must outlive the session
    std::optional<DType> cache =
        {};  ///< element of the KV cache: f32, f16, bf16 or i8; by default Transformer::default_cache_element()
    std::shared_ptr<const PackedAdapter> adapter = {};  ///< LoRA and input embedding rows on top of the model; null: none
    std::size_t block_gap = default_block_gap;          ///< how far in front of a token a block must stand to be seen by it
    float adapter_scale = 1;                            ///< times the LoRA's own scale; it does not change replaced rows
};

namespace detail {

/// The model, if a session of it can be made; what the options leave open is filled in.
inline std::shared_ptr<const Transformer> checked_session(std::shared_ptr<const Transformer> model, SessionOptions& options) {
    FLASHBACK_ASSERT(model != nullptr, "a session needs a model, found null");
    FLASHBACK_ASSERT(model->config.causal, "the model '", printable(model->config.name),
                     "' is an encoder, whose positions see those after them too; a session needs a model that writes texts "
                     "(an encoder belongs into a TextEncoder)");
    if (options.window == 0) options.window = model->config.window;
    FLASHBACK_ASSERT(options.window <= model->config.window, "the model was trained for ", model->config.window,
                     " positions, but the session asks for a window of ", options.window);
    if (!options.cache) options.cache = model->default_cache_element();
    FLASHBACK_ASSERT(options.piece > 0, "a session evaluates pieces of at least 1 token, found 0");
    FLASHBACK_ASSERT(!options.adapter || options.adapter->fits(model->config),
                     "the adapter of a session was packed for a model of another shape");
    FLASHBACK_ASSERT(std::isfinite(options.adapter_scale), "a session scales its adapter by ", options.adapter_scale,
                     ", expected a number");
    FLASHBACK_ASSERT(options.adapter || options.adapter_scale == 1, "a session scales an adapter by ", options.adapter_scale,
                     ", but has none");
    return model;
}

/// How many floats the queries of one position take, in all layers.
inline std::size_t query_floats(const TransformerConfig& c) noexcept { return c.layers * c.heads * c.head_dim; }

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA

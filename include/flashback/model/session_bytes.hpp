/// \file What a session takes, before it is built.
#pragma once

#include "flashback/kv/kv_bytes.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_options.hpp"
#include "flashback/model/workspace.hpp"
#include "flashback/simd/matmul.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>

namespace flashback::inline FLASHBACK_ISA {

/// The bytes of a session.
struct SessionBytes {
    std::size_t cache = 0;    ///< keys and values of the whole window; in pages, at most
    std::size_t scratch = 0;  ///< what a piece is evaluated in, the logits after it, and its newest query

    /// Both together.
    std::size_t all() const noexcept { return cache + scratch; }
};

/// What a session of a model would take. Beyond that it grows by a second cache of the window if it sees blocks, and by the logits that
/// `evaluate_all` and `evaluate_each` give, and the weights that `attention` does.
/// Throws    as the constructor of a session
/// Cost      none: nothing is written
inline SessionBytes session_bytes(const std::shared_ptr<const Transformer>& model, const SessionOptions& options = {}) {
    const KVShape shape = Session::cache_shape(model, options);
    const std::size_t rank = options.adapter ? options.adapter->most_rank() : 0;
    const Workspace work{model->config, std::min(options.piece, shape.positions), rank, shape.positions};
    const std::size_t floats = simd::padded(model->config.vocab) + detail::query_floats(model->config);
    return {kv_bytes(shape), work.bytes() + floats * sizeof(float)};
}

}  // namespace flashback::inline FLASHBACK_ISA

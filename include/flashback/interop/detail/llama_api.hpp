/// \file What the adapter asks of llama.h, in one place: the functions whose names have changed between versions, and the memory of a
/// context with every return value checked.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <llama.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The names that this header needs. Before June 2025 memory was `llama_kv_self_*`, and `llama_kv_cache_*` before that; the sizes of one
/// sequence and adapters in the plural are younger still.
template <class Context>
concept LlamaApi = requires(Context* context, const Context* held, float* scales) {
    llama_get_memory(context);
    llama_memory_seq_rm(llama_get_memory(context), 0, 0, 0);
    llama_memory_seq_cp(llama_get_memory(context), 0, 0, 0, 0);
    llama_n_ctx_seq(held);
    llama_set_adapters_lora(context, nullptr, 0, scales);
};
static_assert(LlamaApi<llama_context>,
              "flashback: interop/llama_cpp.hpp needs the C API of llama.cpp v0.5: llama_memory_seq_rm and its siblings, "
              "llama_n_ctx_seq and llama_set_adapters_lora; this llama.h is older, or has renamed them");

/// The memory of a context: which positions its sequences hold.
class LlamaMemory {
public:
    explicit LlamaMemory(llama_context* context)
        : memory_(llama_get_memory(context)),
          // What follows from these is not told by llama.h: whether a cut can lose positions that are still needed.
          recurrent_(llama_model_is_recurrent(llama_get_model(context)) || llama_model_is_hybrid(llama_get_model(context))),
          sliding_(llama_model_n_swa(llama_get_model(context))),
          // Sequences that share cells have the whole context each. Others have their part of it, and cells cannot be shared.
          unified_(llama_n_ctx_seq(context) == llama_n_ctx(context)) {
        if (memory_ == nullptr) {
            FLASHBACK_THROW(ErrorCode::unsupported,
                            "this llama_context has no memory (llama_get_memory gave null): expected one of a causal language "
                            "model");
        }
    }

    /// Whether a part of a sequence can be copied, and all positions of a text can be seen.
    bool shares_cells() const noexcept { return unified_ && !recurrent_ && sliding_ <= 0; }

    /// Whether a call that failed leaves a state that looks whole: it notes its position before it is computed, and may have been written.
    bool spoiled_by_failure() const noexcept { return recurrent_; }

    /// How many positions a sequence reaches: one more than the newest.
    std::size_t end(llama_seq_id sequence) const {
        return static_cast<std::size_t>(llama_memory_seq_pos_max(memory_, sequence) + 1);
    }

    /// Forgets the positions from `length` on, and tells whether those in front of it are still there. If not, nothing is held.
    bool cut(llama_seq_id sequence, std::size_t length) const {
        if (length > 0 && llama_memory_seq_rm(memory_, sequence, static_cast<llama_pos>(length), -1) && keeps(sequence, length))
            return true;
        clear(sequence);
        return length == 0;
    }

    /// Forgets the first positions, and tells whether that was possible.
    bool drop_front(llama_seq_id sequence, std::size_t count) const {
        return llama_memory_seq_rm(memory_, sequence, 0, static_cast<llama_pos>(count));
    }

    /// Forgets a sequence, which llama.h promises never to fail; tells whether that was true.
    bool clear(llama_seq_id sequence) const { return llama_memory_seq_rm(memory_, sequence, -1, -1); }

    /// Lets a sequence have all that another holds.
    void copy(llama_seq_id from, llama_seq_id to) const { llama_memory_seq_cp(memory_, from, to, -1, -1); }

    /// Lets a sequence have the positions [first, last) of another.
    /// Requires  shares_cells(): else llama.cpp ends the program
    void copy(llama_seq_id from, llama_seq_id to, std::size_t first, std::size_t last) const {
        llama_memory_seq_cp(memory_, from, to, static_cast<llama_pos>(first), static_cast<llama_pos>(last));
    }

private:
    /// A cache of a sliding window forgets what left the window. After a cut the window moves back, to positions that may be gone.
    bool keeps(llama_seq_id sequence, std::size_t length) const {
        if (end(sequence) != length) return false;
        if (recurrent_) return true;  // one state for all positions; it said that it could go back
        const llama_pos first_needed = sliding_ > 0 ? std::max(static_cast<llama_pos>(length) - sliding_ + 1, 0) : 0;
        return llama_memory_seq_pos_min(memory_, sequence) <= first_needed;
    }

    llama_memory_t memory_;
    bool recurrent_;
    llama_pos sliding_;
    bool unified_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

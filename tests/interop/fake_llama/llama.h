/// \file A stand-in for llama.h, so that the adapter is tested where there is no llama.cpp. It has the functions that the adapter calls, with
/// the promises that llama.cpp v0.5 makes, and no weights. What a cell holds depends on its token, its position and all cells that it saw. So
/// a cell that was kept wrongly, is seen twice or is not seen shows in the logits. `faults` makes calls fail; what would end the program in
/// llama.cpp is noted in `misuse`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

using llama_pos = std::int32_t;
using llama_token = std::int32_t;
using llama_seq_id = std::int32_t;
using ggml_abort_callback = bool (*)(void* data);

inline constexpr llama_token LLAMA_TOKEN_NULL = -1;

struct llama_batch {
    std::int32_t n_tokens;
    llama_token* token;
    float* embd;
    llama_pos* pos;
    std::int32_t* n_seq_id;
    llama_seq_id** seq_id;
    std::int8_t* logits;
};

enum llama_vocab_type { LLAMA_VOCAB_TYPE_NONE = 0, LLAMA_VOCAB_TYPE_SPM = 1 };

struct llama_vocab {
    std::int32_t tokens = 64;
    llama_token bos = 1;
    bool add_bos = true;
    llama_token end = 2;
    llama_vocab_type type = LLAMA_VOCAB_TYPE_SPM;
    bool lower = false;  // it takes capital letters for small ones
};

struct llama_model {
    llama_vocab vocab = {};
    bool recurrent = false;
    bool hybrid = false;
    std::int32_t sliding = 0;  // positions in its window; 0: it has none
};

struct llama_adapter_lora {
    std::uint64_t salt;
};

struct llama_context {
    struct Cell {
        llama_pos position;
        std::size_t stream;
        std::uint64_t state;
        std::set<llama_seq_id> sequences;
    };
    struct Faults {
        bool refuse_removal = false;    // of a part of a sequence
        bool refuse_front = false;      // of the front of one
        std::size_t most_at_once = 0;   // more tokens in a batch find no room; 0: no such limit
        int status = 0;                 // what llama_decode gives ...
        std::size_t after_calls = 0;    // ... after so many calls that go well ...
        std::size_t after_batches = 0;  // ... and so many micro-batches that stay
        bool no_logits = false;
        int adapters = 0;  // what llama_set_adapters_lora gives
    };

    llama_model* model;
    std::uint32_t n_ctx = 512, n_batch = 32, n_ubatch = 8, n_seq_max = 8;
    bool unified = true;
    Faults faults = {};
    std::string misuse = {};
    std::vector<Cell> cells = {};
    std::uint64_t adapters = 0;
    ggml_abort_callback abort = nullptr;
    void* abort_data = nullptr;
    std::vector<std::vector<float>> rows = {};
    std::vector<std::size_t> batches = {};  // the sizes of those that were given

    std::size_t stream_of(llama_seq_id sequence) const { return unified ? 0 : static_cast<std::size_t>(sequence); }
    std::size_t capacity() const { return unified ? n_ctx : n_ctx / n_seq_max; }
    bool partial_fails() const { return faults.refuse_removal || model->recurrent || model->hybrid; }
};

using llama_memory_t = llama_context*;

namespace fake_llama {

inline std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

inline void misused(llama_context* context, const char* how) {
    if (context->misuse.empty()) context->misuse = how;
}

inline llama_pos reach(const llama_context* context, llama_seq_id sequence, bool newest) {
    llama_pos found = -1;
    for (const auto& cell : context->cells) {
        if (!cell.sequences.contains(sequence)) continue;
        if (found < 0 || (newest ? cell.position > found : cell.position < found)) found = cell.position;
    }
    return found;
}

inline bool in_range(llama_pos position, llama_pos first, llama_pos last) {
    return position >= first && (last < 0 || position < last);
}

/// Evaluates one token.
inline void evaluate(llama_context* context, llama_token token, llama_pos position, llama_seq_id sequence,
                     std::vector<float>* logits) {
    const std::int32_t sliding = context->model->sliding;
    std::uint64_t sum =
        mix(static_cast<std::uint64_t>(token) * 1000003u + static_cast<std::uint64_t>(position) + context->adapters);
    for (const auto& cell : context->cells) {
        if (cell.sequences.contains(sequence) && cell.position <= position &&
            (sliding == 0 || position - cell.position < sliding))
            sum += mix(cell.state ^ 0x5bd1e995u);
    }
    const std::uint64_t state = mix(sum);
    context->cells.push_back({position, context->stream_of(sequence), state, {sequence}});
    if (sliding > 0) {  // what has left the window of every later token may be overwritten, and here it is at once
        for (auto& cell : context->cells) {
            if (position - cell.position >= sliding) cell.sequences.erase(sequence);
        }
        std::erase_if(context->cells, [](const auto& cell) { return cell.sequences.empty(); });
    }
    if (logits == nullptr) return;
    logits->resize(static_cast<std::size_t>(context->model->vocab.tokens));
    std::uint64_t next = state;
    for (float& logit : *logits) logit = static_cast<float>((next = next * 6364136223846793005u + 1442695040888963407u) >> 40);
}

/// What a micro-batch leaves that did not come to its end. A state notes its new position before it is computed, and cannot go back.
inline void fail(llama_context* context, const llama_batch& batch, std::int32_t first) {
    if (!context->model->recurrent && !context->model->hybrid) return;
    const auto last = std::min(batch.n_tokens, first + static_cast<std::int32_t>(context->n_ubatch));
    for (std::int32_t i = first; i < last; ++i) {
        const llama_seq_id sequence = batch.seq_id[i][0];
        context->cells.push_back({batch.pos[i], context->stream_of(sequence), 0xbad, {sequence}});
    }
}

inline bool fits(const llama_context* context, const llama_batch& batch) {
    if (context->faults.most_at_once > 0 && static_cast<std::size_t>(batch.n_tokens) > context->faults.most_at_once)
        return false;
    for (std::size_t stream = 0; stream < (context->unified ? 1 : context->n_seq_max); ++stream) {
        std::size_t wanted = 0;
        for (const auto& cell : context->cells) wanted += cell.stream == stream ? 1 : 0;
        for (std::int32_t i = 0; i < batch.n_tokens; ++i) wanted += context->stream_of(batch.seq_id[i][0]) == stream ? 1 : 0;
        if (wanted > context->capacity()) return false;
    }
    return true;
}

/// The positions of each sequence go on where it ends, without gaps.
inline bool consecutive(const llama_context* context, const llama_batch& batch) {
    std::vector<llama_pos> next(context->n_seq_max);
    std::vector<bool> known(context->n_seq_max);
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        const llama_seq_id id = batch.seq_id[i][0];
        const auto at = static_cast<std::size_t>(id);
        if (!known[at]) {
            const llama_pos newest = reach(context, id, true);
            next[at] = newest >= 0 ? newest + 1 : batch.pos[i];
            known[at] = true;
        }
        if (batch.pos[i] != next[at]++) return false;
    }
    return true;
}

}  // namespace fake_llama

inline llama_model* llama_get_model(const llama_context* context) { return context->model; }
inline llama_memory_t llama_get_memory(const llama_context* context) {
    return context->n_ctx > 0 ? const_cast<llama_context*>(context) : nullptr;  // NOLINT(*-const-cast): as the C API
}
inline std::uint32_t llama_n_ctx(const llama_context* context) { return context->n_ctx; }
inline std::uint32_t llama_n_ctx_seq(const llama_context* context) { return static_cast<std::uint32_t>(context->capacity()); }
inline std::uint32_t llama_n_batch(const llama_context* context) { return context->n_batch; }
inline std::uint32_t llama_n_seq_max(const llama_context* context) { return context->n_seq_max; }
inline bool llama_model_is_recurrent(const llama_model* model) { return model->recurrent; }
inline bool llama_model_is_hybrid(const llama_model* model) { return model->hybrid; }
inline std::int32_t llama_model_n_swa(const llama_model* model) { return model->sliding; }
inline std::uint64_t llama_model_n_params(const llama_model*) { return 1; }
inline std::int32_t llama_model_desc(const llama_model*, char* text, std::size_t size) {
    return std::snprintf(text, size, "a fake");
}
inline const llama_vocab* llama_model_get_vocab(const llama_model* model) { return &model->vocab; }
inline std::int32_t llama_vocab_n_tokens(const llama_vocab* vocab) { return vocab->tokens; }
inline llama_token llama_vocab_bos(const llama_vocab* vocab) { return vocab->bos; }
inline bool llama_vocab_get_add_bos(const llama_vocab* vocab) { return vocab->add_bos; }
inline bool llama_vocab_is_eog(const llama_vocab* vocab, llama_token token) { return token == vocab->end; }
inline enum llama_vocab_type llama_vocab_type(const llama_vocab* vocab) { return vocab->type; }
inline const char* llama_vocab_get_text(const llama_vocab*, llama_token token) { return token == 0 ? nullptr : "x"; }

/// A letter is a token; "!" is twenty, and "#" cannot be encoded.
inline std::int32_t llama_tokenize(const llama_vocab* vocab, const char* text, std::int32_t size, llama_token* tokens,
                                   std::int32_t most, bool add_special, bool parse_special) {
    std::vector<llama_token> found(add_special || parse_special ? 1 : 0);
    for (std::int32_t i = 0; i < size; ++i) {
        if (text[i] == '#') return std::numeric_limits<std::int32_t>::min();
        const int letter = vocab->lower && text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i];
        found.insert(found.end(), letter == '!' ? 20 : 1, letter == '!' ? 40 : letter - 'a' + 3);
    }
    const auto count = static_cast<std::int32_t>(found.size());
    if (count > most) return -count;
    std::copy(found.begin(), found.end(), tokens);
    return count;
}

/// The token 50 is a hundred letters; the token 51 has no text.
inline std::int32_t llama_token_to_piece(const llama_vocab*, llama_token token, char* text, std::int32_t size,
                                         std::int32_t lstrip, bool special) {
    std::string piece(token == 50 ? 100 : 1, token == 50 ? 'z' : static_cast<char>('a' + (token - 3) % 26));
    if (token == 51) piece.clear();
    if (lstrip != 0 || special) piece = "?";
    const auto count = static_cast<std::int32_t>(piece.size());
    if (count > size) return -count;
    std::memcpy(text, piece.data(), piece.size());
    return count;
}

inline std::int32_t llama_set_adapters_lora(llama_context* context, llama_adapter_lora** adapters, std::size_t count,
                                            float* scales) {
    if (context->faults.adapters != 0) return context->faults.adapters;
    context->adapters = 0;
    for (std::size_t i = 0; i < count; ++i)
        context->adapters += fake_llama::mix(adapters[i]->salt + static_cast<std::uint64_t>(scales[i] * 1000));
    return 0;
}

inline void llama_set_abort_callback(llama_context* context, ggml_abort_callback abort, void* data) {
    context->abort = abort;
    context->abort_data = data;
}

inline llama_pos llama_memory_seq_pos_min(llama_memory_t memory, llama_seq_id sequence) {
    return fake_llama::reach(memory, sequence, false);
}
inline llama_pos llama_memory_seq_pos_max(llama_memory_t memory, llama_seq_id sequence) {
    return fake_llama::reach(memory, sequence, true);
}

inline bool llama_memory_seq_rm(llama_memory_t memory, llama_seq_id sequence, llama_pos first, llama_pos last) {
    if (sequence < 0 || sequence >= static_cast<llama_seq_id>(memory->n_seq_max))
        fake_llama::misused(memory, "a removal of no sequence");
    const bool whole = first <= 0 && last < 0;
    if (!whole && (memory->partial_fails() || (memory->faults.refuse_front && first == 0))) return false;
    for (auto& cell : memory->cells) {
        if (cell.sequences.contains(sequence) && fake_llama::in_range(cell.position, first, last))
            cell.sequences.erase(sequence);
    }
    std::erase_if(memory->cells, [](const auto& cell) { return cell.sequences.empty(); });
    return true;
}

inline void llama_memory_seq_cp(llama_memory_t memory, llama_seq_id from, llama_seq_id to, llama_pos first, llama_pos last) {
    if (memory->unified) {
        for (auto& cell : memory->cells) {
            if (cell.sequences.contains(from) && fake_llama::in_range(cell.position, first, last)) cell.sequences.insert(to);
        }
        return;
    }
    if (first > 0 || last >= 0) return fake_llama::misused(memory, "a part of a sequence was copied to another stream");
    std::erase_if(memory->cells, [&](const auto& cell) { return cell.stream == memory->stream_of(to); });
    const std::vector<llama_context::Cell> cells = memory->cells;
    for (auto cell : cells) {
        if (!cell.sequences.contains(from)) continue;
        cell.stream = memory->stream_of(to);
        cell.sequences = {to};
        memory->cells.push_back(cell);
    }
}

inline std::int32_t llama_decode(llama_context* context, llama_batch batch) {
    auto& faults = context->faults;
    for (auto& row : context->rows) std::fill(row.begin(), row.end(), std::numeric_limits<float>::quiet_NaN());
    context->batches.push_back(static_cast<std::size_t>(batch.n_tokens));
    if (static_cast<std::uint32_t>(batch.n_tokens) > context->n_batch) fake_llama::misused(context, "a batch beyond n_batch");
    if (batch.n_tokens == 0) return -1;
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        if (batch.token[i] < 0 || batch.token[i] >= context->model->vocab.tokens || batch.n_seq_id[i] != 1) return -1;
        if (batch.seq_id[i][0] < 0 || batch.seq_id[i][0] >= static_cast<llama_seq_id>(context->n_seq_max)) return -1;
    }
    if (!fake_llama::consecutive(context, batch)) return -1;
    if (!fake_llama::fits(context, batch)) return 1;
    int failing = 0;
    if (faults.status != 0 && faults.after_calls-- == 0) failing = std::exchange(faults.status, 0);
    if (failing == 1 || failing == -1) return failing;
    context->rows.assign(static_cast<std::size_t>(batch.n_tokens), {});
    for (std::int32_t i = 0; i < batch.n_tokens; ++i) {
        if (static_cast<std::uint32_t>(i) % context->n_ubatch == 0) {
            const bool aborted = context->abort != nullptr && context->abort(context->abort_data);
            if (aborted || (failing != 0 && faults.after_batches-- == 0)) {
                fake_llama::fail(context, batch, i);
                return aborted ? 2 : failing;
            }
        }
        fake_llama::evaluate(context, batch.token[i], batch.pos[i], batch.seq_id[i][0],
                             batch.logits[i] != 0 ? &context->rows[static_cast<std::size_t>(i)] : nullptr);
    }
    return failing;
}

inline float* llama_get_logits_ith(llama_context* context, std::int32_t i) {
    const auto at = static_cast<std::size_t>(i);
    if (context->faults.no_logits || at >= context->rows.size() || context->rows[at].empty()) return nullptr;
    return context->rows[at].data();
}

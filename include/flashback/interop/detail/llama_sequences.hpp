/// \file What the models over one llama_context share: its memory, free sequence ids, the batch, and which adapters are set.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/interop/detail/llama_api.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <llama.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Tokens of one call of llama_decode, each at a position of one sequence. It owns its arrays, so that nothing must be freed.
class LlamaBatch {
public:
    explicit LlamaBatch(std::size_t most)
        : tokens_(most), positions_(most), ids_(most), id_counts_(most, 1), id_pointers_(most), rows_(most) {
        for (std::size_t i = 0; i < most; ++i) id_pointers_[i] = &ids_[i];
    }
    LlamaBatch(const LlamaBatch&) = delete;
    LlamaBatch& operator=(const LlamaBatch&) = delete;

    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return tokens_.size(); }
    void clear() noexcept { size_ = 0; }
    void add(TokenId token, std::size_t position, llama_seq_id sequence, bool wants_logits) noexcept {
        tokens_[size_] = token;
        positions_[size_] = static_cast<llama_pos>(position);
        ids_[size_] = sequence;
        rows_[size_] = wants_logits ? 1 : 0;
        ++size_;
    }
    int decode(llama_context* context) {
        llama_batch batch{};
        batch.n_tokens = static_cast<std::int32_t>(size_);
        batch.token = tokens_.data();
        batch.pos = positions_.data();
        batch.n_seq_id = id_counts_.data();
        batch.seq_id = id_pointers_.data();
        batch.logits = rows_.data();
        return llama_decode(context, batch);
    }

private:
    std::vector<llama_token> tokens_;
    std::vector<llama_pos> positions_;
    std::vector<llama_seq_id> ids_;
    std::vector<std::int32_t> id_counts_;
    std::vector<llama_seq_id*> id_pointers_;
    std::vector<std::int8_t> rows_;
    std::size_t size_ = 0;
};

struct LlamaShared;

/// A sequence id that is in use. At its end what the sequence holds is forgotten, and the id is free again. Whoever has one keeps what is
/// shared alive, as a LlamaOwner; it cannot be one, because what is shared holds blocks, and they hold sequences.
class LlamaSequence {
public:
    LlamaSequence() = default;
    explicit LlamaSequence(LlamaShared& shared);
    LlamaSequence(LlamaSequence&& other) noexcept : shared_(other.shared_), id_(std::exchange(other.id_, -1)) {}
    LlamaSequence& operator=(LlamaSequence&& other) noexcept {
        LlamaSequence taken{std::move(other)};
        std::swap(shared_, taken.shared_);
        std::swap(id_, taken.id_);
        return *this;
    }
    ~LlamaSequence();

    explicit operator bool() const noexcept { return id_ >= 0; }
    llama_seq_id id() const noexcept { return id_; }

private:
    LlamaShared* shared_ = nullptr;
    llama_seq_id id_ = -1;
};

/// The keys and values of a passage beside a text, in a sequence of their own.
struct LlamaBlock {
    LlamaSequence sequence;
    TokenBuffer tokens;
    TokenBuffer seen;  // the head that it sees
    std::size_t first_position;
    std::uint64_t adapters;  // with which it was evaluated
};

/// Shared by a model, its forks and its blocks.
struct LlamaShared {
    llama_context* context;
    const llama_vocab* vocab;
    LlamaMemory memory;
    LlamaBatch batch;
    std::size_t vocab_size;
    std::size_t window;
    std::vector<llama_seq_id> free;  // the next one is at the end
    std::size_t ids;                 // how many there are
    std::uint64_t adapters = 0;      // counts how often they were changed
    std::vector<llama_adapter_lora*> adapters_set = {};
    std::vector<float> scales_set = {};
    TokenBuffer head;
    std::size_t block_gap;
    std::size_t kept_blocks;
    ggml_abort_callback abort;
    void* abort_data;
    std::vector<std::shared_ptr<const LlamaBlock>> kept =
        {};  // the one used last is at the end; it goes first, as it gives ids back

    /// Gives up the oldest block that is kept and that nobody else holds; tells whether there was one.
    bool drop_kept() {
        const auto oldest = std::ranges::find_if(kept, [](const auto& block) { return block.use_count() == 1; });
        if (oldest == kept.end()) return false;
        const std::shared_ptr<const LlamaBlock> gone = std::move(*oldest);  // it gives its id back, so not from within the list
        kept.erase(oldest);
        return true;
    }

    /// What to do if there was no room (1): less in memory, or less at once. Tells whether to try again.
    bool retry(int status, std::size_t& piece) {
        if (status != 1) return false;
        if (drop_kept()) return true;
        if (piece == 1 || batch.size() == 1) return false;
        piece = std::max<std::size_t>(std::min(piece, batch.size()) / 2, 1);
        return true;
    }

    /// Ends a call because llama_decode did not give 0.
    [[noreturn]] void fail(int status) const {
        switch (status) {
            case 1:
                FLASHBACK_THROW(ErrorCode::window, "llama.cpp found no room for ", batch.size(),
                                " more tokens in its memory of ", llama_n_ctx(context),
                                " cells (llama_decode gave 1); other sequences may hold the rest");
            case 2: FLASHBACK_THROW(ErrorCode::engine, "llama_decode was aborted (2), but not by the stop token of this call");
            case -1:
                FLASHBACK_THROW(ErrorCode::engine,
                                "llama_decode refused its input (-1): it found a token, position or sequence "
                                "id in a batch of ",
                                batch.size(), " that it did not expect");
            default: FLASHBACK_THROW(ErrorCode::engine, "llama_decode failed with ", status, ", expected 0");
        }
    }
};

/// Keeps what is shared alive. Assignments swap, so that what the target had is there until the sequences beside it are assigned, too.
class LlamaOwner {
public:
    explicit LlamaOwner(std::shared_ptr<LlamaShared> shared) : shared_(std::move(shared)) {}
    LlamaOwner(const LlamaOwner&) = default;
    LlamaOwner(LlamaOwner&&) noexcept = default;
    LlamaOwner& operator=(LlamaOwner&& other) noexcept {
        shared_.swap(other.shared_);
        return *this;
    }
    ~LlamaOwner() = default;

    LlamaShared& operator*() const noexcept { return *shared_; }
    LlamaShared* operator->() const noexcept { return shared_.get(); }
    friend bool operator==(const LlamaOwner&, const LlamaOwner&) = default;

private:
    std::shared_ptr<LlamaShared> shared_;
};

/// A block that somebody holds, with what it gives its id back to.
struct LlamaHeldBlock {
    LlamaOwner shared;
    std::shared_ptr<const LlamaBlock> block;
};

inline LlamaSequence::LlamaSequence(LlamaShared& shared) : shared_(&shared) {
    while (shared_->free.empty() && shared_->drop_kept()) {
    }
    FLASHBACK_ASSERT(
        !shared_->free.empty(), "all ", shared_->ids,
        " sequence ids are in use by texts, branches and blocks: give LlamaCppOptions::sequences more of them, and the "
        "context as many (n_seq_max)");
    id_ = shared_->free.back();
    shared_->free.pop_back();
}

inline LlamaSequence::~LlamaSequence() {
    if (id_ < 0) return;
    static_cast<void>(shared_->memory.clear(id_));
    shared_->free.push_back(id_);  // there was room for it
}

/// Lets a stop token end llama_decode, besides the callback that the user has set; that one is set again at the end.
class LlamaStop {
public:
    LlamaStop(const LlamaShared& shared, std::stop_token stop) : shared_(shared), stop_(std::move(stop)) {
        if (stop_.stop_possible()) llama_set_abort_callback(shared_.context, &LlamaStop::called, this);
    }
    LlamaStop(const LlamaStop&) = delete;
    LlamaStop& operator=(const LlamaStop&) = delete;
    ~LlamaStop() {
        if (stop_.stop_possible()) llama_set_abort_callback(shared_.context, shared_.abort, shared_.abort_data);
    }

    bool requested() const noexcept { return stop_.stop_requested(); }

private:
    static bool called(void* self) {
        const LlamaStop& stop = *static_cast<const LlamaStop*>(self);
        return stop.requested() || (stop.shared_.abort != nullptr && stop.shared_.abort(stop.shared_.abort_data));
    }

    const LlamaShared& shared_;
    std::stop_token stop_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

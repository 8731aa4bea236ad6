/// \file llama.cpp as the engine: a LanguageModel over a `llama_context` that the caller owns, and its tokenizer as a Codec.
///
/// The umbrella does not include this header, because it needs llama.cpp (v0.5). CMake: `flashback::llama_cpp`.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/interop/detail/llama_sequences.hpp"
#include "flashback/retrieval/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <llama.h>

namespace flashback::inline FLASHBACK_ISA {

/// What a LlamaCppModel may use of its context.
struct LlamaCppOptions {
    /// The sequence ids that it may use, each below `n_seq_max`. One does for a text with passages in it. Each branch wants another, each
    /// passage beside a text, and a text that sees such passages wants one more.
    std::vector<llama_seq_id> sequences{0};
    /// The most positions of a text; 0: what the context has for one sequence. Sequences that share cells have the whole context each, and
    /// that may be more than the model was trained for.
    std::size_t window = 0;
    /// How far in front of a token a block must stand to be seen by it; at least 1.
    std::size_t block_gap = default_block_gap;
    /// How many blocks stay in memory when nobody sees them, in case their passages are found again. They take ids and cells, and are
    /// given up if these are wanted.
    std::size_t kept_blocks = 0;
    /// The abort callback that the context has. While a stop token is watched, both are asked; then it is set again.
    ggml_abort_callback abort = nullptr;
    void* abort_data = nullptr;  ///< what that callback is called with
};

/// What a model has done.
struct LlamaCppCounts {
    std::size_t evaluated = 0;  ///< tokens, those of blocks and those that were evaluated again included
    std::size_t calls = 0;      ///< of llama_decode
    std::size_t refused_removals =
        0;  ///< cuts that the memory refused, or after which it lacked what it needs; states that a stop spoiled
    std::size_t evaluated_again = 0;  ///< tokens that were evaluated once more because of these
    std::size_t smaller_batches = 0;  ///< times that less was tried at once because llama_decode found no room
    std::size_t rollbacks = 0;        ///< calls that failed and left everything as it was
};

/// A passage beside a text; the last copy gives its sequence id back.
class LlamaCppBlock {
public:
    /// A handle that holds no block; no model can see it.
    LlamaCppBlock() = default;

private:
    friend class LlamaCppModel;
    LlamaCppBlock(const detail::LlamaOwner& shared, std::shared_ptr<const detail::LlamaBlock> block)
        : held_(std::make_shared<const detail::LlamaHeldBlock>(detail::LlamaHeldBlock{shared, std::move(block)})) {}

    const detail::LlamaBlock& get() const noexcept { return *held_->block; }

    std::shared_ptr<const detail::LlamaHeldBlock> held_;
};

/// One sequence of a `llama_context` as a LanguageModel; with more ids also a ForkableModel, BatchedModel and BlockModel.
///
/// The context stays the caller's, and must outlive the model, its forks and its blocks. Nobody else may use their sequence ids
/// meanwhile; other sequences of the context are left alone. One thread at a time may use a context.
///
/// llama.cpp chooses its sums by the number of tokens in a batch. So the same text divided in another way gives logits that differ in the
/// last digits, and reuse is exact up to these.
///
/// If the memory refuses to be cut (recurrent and hybrid models, sliding windows), the text is evaluated again when it is next needed, and
/// `counts()` says so. Recurrent and hybrid models lose it also if a stop or a failure ends llama_decode.
class LlamaCppModel {
public:
    /// Requires  no other model was made so for the context and is still there, with its forks and blocks: `fork` makes the others, which
    ///           know what adapters it has set
    /// Throws    Error{contract} for a null context, no sequence ids, ids that are out of range, given twice or not empty, or a gap of 0;
    ///           Error{unsupported} for a context without memory or a model without tokens; std::bad_alloc
    explicit LlamaCppModel(llama_context* context, const LlamaCppOptions& options = {});
    LlamaCppModel(LlamaCppModel&&) = default;  // no copies: `fork` makes a branch, visibly
    LlamaCppModel& operator=(LlamaCppModel&&) = default;

    /// The context that the model was made for.
    llama_context* context() const noexcept { return shared_->context; }
    /// Number of positions held.
    std::size_t size() const noexcept { return tokens_.size(); }
    /// Number of logits.
    std::size_t vocab_size() const noexcept { return shared_->vocab_size; }
    /// The most positions of one sequence; other sequences may leave it less room.
    std::size_t window() const noexcept { return shared_->window; }
    /// BOS, if the vocabulary says that texts begin with it.
    TokenSpan head() const noexcept { return shared_->head; }
    /// Whether a token ends a text: EOS, the end of a turn, and what else the vocabulary says.
    bool is_end(TokenId token) const { return llama_vocab_is_eog(shared_->vocab, token); }
    /// The tokens at the positions held.
    TokenSpan tokens() const noexcept { return tokens_; }
    /// The tokens that were evaluated, ever: counts().evaluated.
    std::size_t work() const noexcept { return counts_.evaluated; }
    /// What this model has done; a fork begins at 0.
    const LlamaCppCounts& counts() const noexcept { return counts_; }
    /// A number of the context, its model, and how often `set_adapters` changed something. It is good for this process.
    std::uint64_t fingerprint() const;

    /// Sets the adapters (LoRA) of the context with their scales. If that changes something, what its models hold is of no more use: cut
    /// them to 0.
    /// Requires  nothing else sets adapters of the context, nor did before the model was made: llama.cpp does not tell which are set
    /// Throws    Error{contract} for another number of scales; Error{engine} if llama.cpp refuses; then nothing has changed here
    void set_adapters(std::span<llama_adapter_lora* const> adapters, std::span<const float> scales);

    /// Appends tokens and gives a copy of the logits after the last, valid until the next call. If a stop is requested, what was
    /// evaluated so far stays, and the span is empty: the next call goes on from size(). Within a batch only llama.cpp's CPU back end stops.
    /// Throws    Error{contract} for no tokens, ids that the vocabulary lacks, or adapters that changed since positions were evaluated;
    ///           Error{window} if they do not fit, also if llama_decode finds no room; Error{engine} if it fails or is aborted by
    ///           another callback, or something else changed the sequence; std::bad_alloc. Then size() and what is held are as before;
    ///           only if the memory refuses to be cut back and positions saw blocks, the model is empty
    /// Cost      calls of llama_decode with at most n_batch tokens each
    std::span<const float> evaluate(TokenSpan tokens, const std::stop_token& stop = {});

    /// Likewise, but gives the logits after each of the tokens.
    /// Shape     (tokens.size(), vocab_size()) row-major
    /// Requires  a context whose `n_outputs_max` is not below n_batch, as is the default
    std::span<const float> evaluate_all(TokenSpan tokens);

    /// Whether two models can share batches: a model and its forks can.
    static bool can_share_passes(const LlamaCppModel& a, const LlamaCppModel& b) noexcept { return a.shared_ == b.shared_; }

    /// Appends tokens to each of several models that are forks of one, in batches that they share; the logits after the last token of each are
    /// valid until the first of them evaluates again.
    /// Shape     (models.size(), vocab_size()) row-major
    /// Requires  a context whose `n_outputs_max` is not below the number of models, as is the default
    /// Throws    Error{contract} for no models, another number of texts, a model that is null or given twice, or one that is no fork of
    ///           the same; as `evaluate`; then all of them are as before
    static std::span<const float> evaluate_each(std::span<LlamaCppModel* const> models, std::span<const TokenSpan> tokens);

    /// Forgets all positions >= length.
    /// Throws    Error{contract} if length is beyond size(); Error{engine} if the memory refuses although positions in front of `length`
    ///           saw blocks: these cannot be evaluated again, so the model is empty then
    void truncate(std::size_t length);

    /// A second model that holds the same tokens and goes its own way, in a sequence of its own.
    /// Throws    Error{contract} if no id is free, or for adapters that changed since positions were evaluated; Error{engine} if something
    ///           else changed the sequence; std::bad_alloc
    /// Cost      llama_memory_seq_cp: with `kv_unified` cells are shared, else they are copied
    LlamaCppModel fork() const;

    /// Evaluates a passage beside the text, in a sequence of its own: each token sees the first `sees` positions held and the passage up
    /// to itself.
    /// Throws    Error{contract} as `evaluate`, or if fewer than `sees` positions of plain text are held or no id is free;
    ///           Error{unsupported} for a context without `kv_unified`, a model that is recurrent or has a sliding window, and a
    ///           block that sees positions and does not start right after them (llama.cpp wants consecutive positions); as `evaluate`
    LlamaCppBlock block(TokenSpan tokens, std::size_t sees, std::size_t first_position);

    /// Lets the tokens that are evaluated from now on see these blocks besides what is held, until they are given others or the model is
    /// cut back to where it is now.
    /// Throws    Error{contract} for a block of another context, other adapters or another head, or if no id is free
    /// Cost      tokens in front of the end of a block are evaluated one by one
    void see(std::vector<LlamaCppBlock> blocks);

    /// Number of positions in front of the first that saw blocks, or positions that did.
    std::size_t plain_size() const noexcept { return std::min(plain_, size()); }

private:
    static constexpr std::size_t all = std::numeric_limits<std::size_t>::max();
    struct Run;
    class Undo;

    explicit LlamaCppModel(detail::LlamaOwner shared) : shared_(std::move(shared)), text_(*shared_) {}

    static bool pass(std::span<LlamaCppModel* const> models, std::span<const TokenSpan> tokens, const std::stop_token& stop,
                     bool every, std::vector<float>& out);
    static void check_each(std::span<LlamaCppModel* const> models, std::span<const TokenSpan> tokens);
    void check_ids(TokenSpan tokens) const;
    void check(TokenSpan tokens) const;
    void check_adapters() const;
    void check_memory() const;
    bool cut_memory(std::size_t length);
    bool lose_memory();
    void forget_view();
    Run next_run(std::size_t most);
    void evaluated(const Run& run, std::size_t count);

    detail::LlamaOwner shared_;
    detail::LlamaSequence text_;  // all tokens held, whatever they saw
    detail::LlamaSequence
        view_;  // what the next token sees, if that is more: the text, and of each block what stands far enough in front
    std::vector<std::size_t> shown_;  // how much of each block the view has; empty: the view must be made
    std::vector<LlamaCppBlock> blocks_;
    TokenBuffer tokens_;
    std::size_t in_memory_ = 0;  // fewer than tokens_ after a refused cut: the rest is evaluated again
    std::size_t lost_ = 0;       // positions below this were in memory before
    std::size_t plain_ = all;
    std::uint64_t adapters_ = 0;  // with which the tokens were evaluated
    std::vector<float> logits_;
    LlamaCppCounts counts_;
};

/// The tokenizer of a model of llama.cpp, for an index whose passages that model reads. Special tokens that are spelled out in a text are text,
/// and no BOS is added.
/// Requires  the model outlives the codec
/// Throws    Error{contract} for a null vocabulary, Error{unsupported} for one without a tokenizer. `encode` throws Error{vocabulary} for a text that llama.cpp refuses or that is
///           longer than 2 GB, `decode` throws Error{contract} for ids that the vocabulary lacks
/// Cost      reads the vocabulary once, and encodes a line of text: both are in its fingerprint
Codec llama_cpp_codec(const llama_vocab* vocab);

static_assert(LanguageModel<LlamaCppModel> && ScoringModel<LlamaCppModel> && ForkableModel<LlamaCppModel> &&
              BatchedModel<LlamaCppModel> && BlockModel<LlamaCppModel> && InterruptibleModel<LlamaCppModel> &&
              RemembersTokens<LlamaCppModel> && FingerprintedModel<LlamaCppModel> && CountsWork<LlamaCppModel>);

}  // namespace flashback::inline FLASHBACK_ISA

// compile_once.hpp does not know llama.cpp: these are always compiled where they are used.
#include "flashback/interop/detail/llama_blocks.hpp"
#include "flashback/interop/detail/llama_codec.hpp"
#include "flashback/interop/detail/llama_model.hpp"
#include "flashback/interop/detail/llama_pass.hpp"

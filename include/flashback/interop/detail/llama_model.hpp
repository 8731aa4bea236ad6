/// \file LlamaCppModel: how it begins, is cut, and branches.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/interop/llama_cpp.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline std::vector<llama_seq_id> checked_ids(llama_context* context, const LlamaMemory& memory,
                                             const LlamaCppOptions& options) {
    std::vector<llama_seq_id> ids{options.sequences.rbegin(), options.sequences.rend()};  // the first is taken first
    FLASHBACK_ASSERT(!ids.empty(), "a LlamaCppModel needs at least 1 sequence id, found none");
    FLASHBACK_ASSERT(options.block_gap > 0,
                     "LlamaCppOptions::block_gap is 0, expected at least 1: llama.cpp lets the positions of a "
                     "sequence end where its newest token stands");
    for (std::size_t i = 0; i < ids.size(); ++i) {
        FLASHBACK_ASSERT(ids[i] >= 0 && static_cast<std::uint32_t>(ids[i]) < llama_n_seq_max(context), "the sequence id ",
                         ids[i], " is not below n_seq_max of the context, which is ", llama_n_seq_max(context));
        FLASHBACK_ASSERT(std::count(ids.begin(), ids.end(), ids[i]) == 1, "the sequence id ", ids[i], " was given twice");
        FLASHBACK_ASSERT(memory.end(ids[i]) == 0, "the sequence ", ids[i], " of the context holds positions up to ",
                         memory.end(ids[i]) - 1, ", whose tokens are not known: forget it first (llama_memory_seq_rm)");
    }
    return ids;
}

inline LlamaOwner shared_of(llama_context* context, const LlamaCppOptions& options) {
    FLASHBACK_ASSERT(context != nullptr, "a LlamaCppModel needs a llama_context, found null");
    const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(context));
    const LlamaMemory memory{context};
    if (llama_vocab_n_tokens(vocab) <= 0)
        FLASHBACK_THROW(ErrorCode::unsupported, "the model of this llama_context has no tokens: expected a vocabulary");
    std::vector<llama_seq_id> ids = checked_ids(context, memory, options);
    const std::size_t count = ids.size();
    TokenBuffer head;
    const llama_token bos = llama_vocab_bos(vocab);
    if (bos != LLAMA_TOKEN_NULL && llama_vocab_get_add_bos(vocab)) head.push_back(bos);
    return LlamaOwner{std::shared_ptr<LlamaShared>(new LlamaShared{
        .context = context,
        .vocab = vocab,
        .memory = memory,
        .batch = LlamaBatch{llama_n_batch(context)},
        .vocab_size = static_cast<std::size_t>(llama_vocab_n_tokens(vocab)),
        .window =
            options.window > 0 ? std::min<std::size_t>(options.window, llama_n_ctx_seq(context)) : llama_n_ctx_seq(context),
        .free = std::move(ids),
        .ids = count,
        .head = std::move(head),
        .block_gap = options.block_gap,
        .kept_blocks = options.kept_blocks,
        .abort = options.abort,
        .abort_data = options.abort_data,
    })};
}

}  // namespace detail

inline LlamaCppModel::LlamaCppModel(llama_context* context, const LlamaCppOptions& options)
    : LlamaCppModel(detail::shared_of(context, options)) {}

inline std::uint64_t LlamaCppModel::fingerprint() const {
    const llama_model* model = llama_get_model(context());
    std::array<char, 128> description{};
    static_cast<void>(llama_model_desc(model, description.data(), description.size()));
    Fingerprint all_of_it;
    all_of_it.add(std::string_view{description.data()});
    all_of_it.add(llama_model_n_params(model));
    all_of_it.add(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(model)));
    all_of_it.add(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(context())));  // the types of its cache
    all_of_it.add(shared_->adapters);
    return all_of_it.value();
}

inline void LlamaCppModel::set_adapters(std::span<llama_adapter_lora* const> adapters, std::span<const float> scales) {
    FLASHBACK_ASSERT(adapters.size() == scales.size(), adapters.size(), " adapters were given ", scales.size(), " scales");
    std::vector<llama_adapter_lora*> its{adapters.begin(), adapters.end()};
    std::vector<float> their_scales{scales.begin(), scales.end()};
    const int status = llama_set_adapters_lora(context(), its.data(), its.size(), their_scales.data());
    if (status != 0) FLASHBACK_THROW(ErrorCode::engine, "llama_set_adapters_lora gave ", status, ", expected 0");
    if (its == shared_->adapters_set && their_scales == shared_->scales_set) return;
    shared_->adapters_set = std::move(its);
    shared_->scales_set = std::move(their_scales);
    ++shared_->adapters;
    shared_->kept.clear();
}

inline void LlamaCppModel::truncate(std::size_t length) {
    FLASHBACK_ASSERT(length <= size(), "a model of ", size(), " tokens cannot be cut to ", length);
    const std::size_t plain = plain_;
    if (length < in_memory_ && !cut_memory(length)) {
        FLASHBACK_THROW(ErrorCode::engine, "the memory of llama.cpp refused to be cut to ", length,
                        " positions, and those from ", plain,
                        " on saw blocks, so that they cannot be evaluated again; everything was forgotten");
    }
    tokens_.resize(length);
    lost_ = std::min(lost_, length);
    if (length > plain_) return;
    plain_ = all;
    see({});
}

/// Cuts what is in memory to at most `length` positions. If that is refused, nothing is left there, and the tokens are evaluated again
/// when they are needed. Those that saw blocks cannot be: then it forgets everything, and gives false.
inline bool LlamaCppModel::cut_memory(std::size_t length) {
    forget_view();
    in_memory_ = std::min(in_memory_, length);
    return shared_->memory.cut(text_.id(), in_memory_) || lose_memory();
}

/// Forgets what is in memory, as `cut_memory` does if it is refused.
inline bool LlamaCppModel::lose_memory() {
    static_cast<void>(shared_->memory.clear(text_.id()));
    const std::size_t rest = std::exchange(in_memory_, 0);
    if (rest > 0) ++counts_.refused_removals;
    lost_ = std::max(lost_, rest);
    if (rest <= plain_) return true;
    tokens_.clear();
    lost_ = 0;
    plain_ = all;
    see({});
    return false;
}

inline LlamaCppModel LlamaCppModel::fork() const {
    check_adapters();
    check_memory();
    LlamaCppModel branch{shared_};
    if (!blocks_.empty()) branch.view_ = detail::LlamaSequence{*shared_};
    branch.blocks_ = blocks_;
    branch.tokens_ = tokens_;
    branch.plain_ = plain_;
    branch.adapters_ = adapters_;
    branch.lost_ = lost_;
    branch.in_memory_ = in_memory_;
    if (in_memory_ > 0) shared_->memory.copy(text_.id(), branch.text_.id());
    return branch;
}

inline void LlamaCppModel::check_adapters() const {
    FLASHBACK_ASSERT(tokens_.empty() || adapters_ == shared_->adapters, "the adapters of the context have changed since the ",
                     size(), " positions of this model were evaluated: cut it to 0 first");
}

inline void LlamaCppModel::check_memory() const {
    const std::size_t end = shared_->memory.end(text_.id());
    if (end != in_memory_) {
        FLASHBACK_THROW(ErrorCode::engine, "the sequence ", text_.id(), " of the llama_context has ", end,
                        " positions, but this model left ", in_memory_, " in it: something else changed it");
    }
}

inline void LlamaCppModel::check_ids(TokenSpan tokens) const {
    FLASHBACK_ASSERT(!tokens.empty(), "evaluate needs at least 1 token, found none");
    for (const TokenId token : tokens) {
        FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < vocab_size(), "the token ", token,
                         " is not in the vocabulary of ", vocab_size());
    }
}

inline void LlamaCppModel::check(TokenSpan tokens) const {
    check_ids(tokens);
    if (tokens.size() > window() - size()) {
        FLASHBACK_THROW(ErrorCode::window, "the model holds ", size(), " of ", window(), " positions, and ", tokens.size(),
                        " more do not fit");
    }
    check_adapters();
    check_memory();
}

}  // namespace flashback::inline FLASHBACK_ISA

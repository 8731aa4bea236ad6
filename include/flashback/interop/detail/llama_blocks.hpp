/// \file LlamaCppModel: passages beside the text. A passage has a sequence of its own. What a token of the text sees is another sequence, the
/// view: the text, and of each block what stands far enough in front. Sequences share cells, so none of this copies keys or values.
#pragma once

#include "flashback/interop/llama_cpp.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

inline LlamaCppBlock LlamaCppModel::block(TokenSpan tokens, std::size_t sees, std::size_t first_position) {
    check_ids(tokens);
    FLASHBACK_ASSERT(sees <= plain_size(), "a block sees ", sees, " positions of the text, but ", plain_size(), " are held");
    const detail::LlamaMemory& memory = shared_->memory;
    if (!memory.shares_cells()) {
        FLASHBACK_THROW(
            ErrorCode::unsupported,
            "passages cannot stand beside a text in this llama_context: expected kv_unified = true and a model that is "
            "neither recurrent nor has a sliding window");
    }
    if (sees > 0 && first_position != sees) {
        FLASHBACK_THROW(ErrorCode::unsupported, "a block that sees ", sees, " positions was to start at ", first_position,
                        ": llama.cpp wants the positions of a sequence to be consecutive");
    }
    if (first_position > window() || tokens.size() > window() - first_position) {
        FLASHBACK_THROW(ErrorCode::window, "a block of ", tokens.size(), " tokens at position ", first_position,
                        " does not fit into a window of ", window());
    }
    check_adapters();
    check_memory();

    const TokenSpan head = this->tokens().first(sees);
    auto& kept = shared_->kept;
    const auto found = std::ranges::find_if(kept, [&](const auto& block) {
        return block->first_position == first_position && std::ranges::equal(block->tokens, tokens) &&
               std::ranges::equal(block->seen, head);
    });
    if (found != kept.end()) {
        std::rotate(found, found + 1, kept.end());
        return {shared_, kept.back()};
    }
    if (in_memory_ < sees) {  // a cut was refused
        const std::array<LlamaCppModel*, 1> self{this};
        static_cast<void>(pass(self, std::array{TokenSpan{}}, {}, false, logits_));
    }

    detail::LlamaSequence own{*shared_};  // if something fails, this forgets what was evaluated
    if (sees > 0) memory.copy(text_.id(), own.id(), 0, sees);
    detail::LlamaBatch& batch = shared_->batch;
    for (std::size_t done = 0, piece = batch.capacity(); done < tokens.size();) {
        batch.clear();
        const std::size_t end = done + std::min(piece, tokens.size() - done);
        for (std::size_t i = done; i < end; ++i) batch.add(tokens[i], first_position + i, own.id(), false);
        const int status = batch.decode(context());
        ++counts_.calls;
        if (status == 0) {
            counts_.evaluated += end - done;
            done = end;
        } else if (shared_->retry(status, piece)) {
            ++counts_.smaller_batches;
        } else {
            ++counts_.rollbacks;
            shared_->fail(status);
        }
    }
    // The head stays where it is; a view has it from the text, and must not have it twice.
    if (sees > 0 && !memory.drop_front(own.id(), sees))
        FLASHBACK_THROW(ErrorCode::engine, "llama.cpp refused to part a block from the ", sees, " positions that it saw");
    auto block = std::make_shared<const detail::LlamaBlock>(detail::LlamaBlock{
        std::move(own), {tokens.begin(), tokens.end()}, {head.begin(), head.end()}, first_position, adapters_});
    if (shared_->kept_blocks > 0) {
        kept.push_back(block);
        if (kept.size() > shared_->kept_blocks) kept.erase(kept.begin());
    }
    return {shared_, std::move(block)};
}

inline void LlamaCppModel::see(std::vector<LlamaCppBlock> blocks) {
    for (const LlamaCppBlock& one : blocks) {
        FLASHBACK_ASSERT(one.held_ != nullptr, "a model cannot see a block that is empty");
        const detail::LlamaBlock& block = one.get();
        FLASHBACK_ASSERT(one.held_->shared == shared_, "a block was evaluated by a model that is no fork of this one");
        FLASHBACK_ASSERT(block.adapters == shared_->adapters,
                         "the adapters of the context have changed since a block was evaluated");
        FLASHBACK_ASSERT(block.seen.size() <= plain_size() && std::ranges::equal(block.seen, tokens().first(block.seen.size())),
                         "a block sees a head of ", block.seen.size(), " tokens that are not the first ones of this model");
    }
    if (blocks.empty()) {
        forget_view();
        view_ = {};
        if (plain_ == size()) plain_ = all;  // nothing saw any
    } else {
        if (!view_) view_ = detail::LlamaSequence{*shared_};
        forget_view();
        plain_ = plain_size();
    }
    blocks_ = std::move(blocks);
}

/// Forgets what the next token sees; it is put together again when a token is evaluated.
inline void LlamaCppModel::forget_view() {
    shown_.clear();
    if (view_) static_cast<void>(shared_->memory.clear(view_.id()));
}

}  // namespace flashback::inline FLASHBACK_ISA

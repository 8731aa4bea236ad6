/// \file LlamaCppModel: evaluating tokens, of one model or of several at once.
#pragma once

#include "flashback/interop/llama_cpp.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <stop_token>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Some tokens of a model, in one batch.
struct LlamaCppModel::Run {
    std::size_t first;  // position
    std::size_t count;
    llama_seq_id sequence;
    std::size_t model = 0;     // which of those that evaluate together
    std::size_t in_batch = 0;  // where they begin
};

/// Makes the models what they were, unless they are to keep what they came to.
class LlamaCppModel::Undo {
public:
    explicit Undo(std::span<LlamaCppModel* const> models) : models_(models) {
        for (const LlamaCppModel* model : models) sizes_.push_back(model->size());
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    ~Undo() {
        if (kept_) return;
        ++models_[0]->counts_.rollbacks;
        for (std::size_t i = 0; i < models_.size(); ++i) {
            models_[i]->tokens_.resize(sizes_[i]);
            models_[i]->lost_ = std::min(models_[i]->lost_, sizes_[i]);
            models_[i]->cut_memory(sizes_[i]);  // in any case: a call that failed may have left a part of its tokens in memory
        }
    }

    std::size_t size(std::size_t model) const { return sizes_[model]; }
    void keep() {
        for (std::size_t i = 0; i < models_.size(); ++i)  // after a stop
            models_[i]->tokens_.resize(std::max({sizes_[i], models_[i]->in_memory_, models_[i]->lost_}));
        kept_ = true;
    }

private:
    std::span<LlamaCppModel* const> models_;
    std::vector<std::size_t> sizes_;
    bool kept_ = false;
};

/// The tokens that may be evaluated next, at most so many, and in which sequence. Tokens in front of the end of a block see different
/// parts of it, so each is a run of its own.
inline LlamaCppModel::Run LlamaCppModel::next_run(std::size_t most) {
    std::size_t count = std::min(most, tokens_.size() - in_memory_);
    if (blocks_.empty() || in_memory_ < plain_ || count == 0) {
        if (!blocks_.empty()) count = std::min(count, plain_ - std::min(plain_, in_memory_));
        return {in_memory_, count, text_.id()};
    }
    const detail::LlamaMemory& memory = shared_->memory;
    if (shown_.empty()) {
        shown_.assign(blocks_.size(), 0);
        if (in_memory_ > 0) memory.copy(text_.id(), view_.id(), 0, in_memory_);
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        const detail::LlamaBlock& block = blocks_[i].get();
        const std::size_t seen =
            std::min(block.tokens.size(), positions_seen(in_memory_, block.first_position, shared_->block_gap));
        if (seen > shown_[i])
            memory.copy(block.sequence.id(), view_.id(), block.first_position + shown_[i], block.first_position + seen);
        shown_[i] = seen;
        if (seen < block.tokens.size()) count = 1;
    }
    return {in_memory_, count, view_.id()};
}

/// Notes that the first `count` tokens of a run are in memory now.
inline void LlamaCppModel::evaluated(const Run& run, std::size_t count) {
    if (run.sequence != text_.id()) shared_->memory.copy(run.sequence, text_.id(), run.first, run.first + count);
    in_memory_ = run.first + count;
    counts_.evaluated += count;
    counts_.evaluated_again += std::min(in_memory_, lost_) - std::min(run.first, lost_);
    if (in_memory_ >= lost_) lost_ = 0;
}

/// Appends tokens to each model, and evaluates them and whatever the memory had lost. Tells whether it came to the end.
inline bool LlamaCppModel::pass(std::span<LlamaCppModel* const> models, std::span<const TokenSpan> tokens,
                                const std::stop_token& stop, bool every, std::vector<float>& out) {
    detail::LlamaShared& shared = *models[0]->shared_;
    detail::LlamaBatch& batch = shared.batch;
    const std::size_t vocab = shared.vocab_size;
    out.resize((every ? tokens[0].size() : models.size()) * vocab);
    std::vector<Run> runs;
    runs.reserve(models.size());
    Undo undo{models};
    for (std::size_t i = 0; i < models.size(); ++i) {
        if (models[i]->size() == 0) models[i]->adapters_ = shared.adapters;
        append(models[i]->tokens_, tokens[i]);
    }
    const detail::LlamaStop watch{shared, stop};
    const auto wants_logits = [&](std::size_t model, std::size_t position) {
        if (every) return position >= undo.size(model);
        return !tokens[model].empty() && position + 1 == models[model]->tokens_.size();
    };
    for (std::size_t piece = batch.capacity();;) {
        batch.clear();
        runs.clear();
        for (std::size_t i = 0; i < models.size(); ++i) {
            Run run = models[i]->next_run(piece - batch.size());
            if (run.count == 0) continue;
            run.model = i;
            run.in_batch = batch.size();
            for (std::size_t at = run.first; at < run.first + run.count; ++at)
                batch.add(models[i]->tokens_[at], at, run.sequence, wants_logits(i, at));
            runs.push_back(run);
        }
        if (runs.empty()) break;
        if (watch.requested()) {
            undo.keep();
            return false;
        }
        const int status = batch.decode(shared.context);
        ++models[0]->counts_.calls;
        const bool spoiled = (status == 2 || status < -1) && shared.memory.spoiled_by_failure();
        if (spoiled) {
            for (const Run& run : runs) models[run.model]->lose_memory();
        }
        if (status == 2 && watch.requested()) {
            for (const Run& run : runs) {  // what was done of the batch has stayed in memory
                if (spoiled) break;
                const std::size_t end = std::clamp(shared.memory.end(run.sequence), run.first, run.first + run.count);
                models[run.model]->evaluated(run, end - run.first);
            }
            undo.keep();
            return false;
        }
        if (status != 0) {
            if (!shared.retry(status, piece)) shared.fail(status);
            ++models[0]->counts_.smaller_batches;
            continue;
        }
        for (const Run& run : runs) {
            models[run.model]->evaluated(run, run.count);
            for (std::size_t i = 0; i < run.count; ++i) {
                if (!wants_logits(run.model, run.first + i)) continue;
                const float* row = llama_get_logits_ith(shared.context, static_cast<std::int32_t>(run.in_batch + i));
                if (row == nullptr) FLASHBACK_THROW(ErrorCode::engine, "llama.cpp gave no logits for a token that wanted some");
                const std::size_t to = every ? run.first + i - undo.size(run.model) : run.model;
                std::copy_n(row, vocab,
                            out.data() + to * vocab);  // the buffer is the context's, and the next call overwrites it
            }
        }
    }
    undo.keep();
    return true;
}

inline std::span<const float> LlamaCppModel::evaluate(TokenSpan tokens, const std::stop_token& stop) {
    check(tokens);
    const std::array<LlamaCppModel*, 1> self{this};
    const bool whole = pass(self, std::array{tokens}, stop, false, logits_);
    return {logits_.data(), whole ? vocab_size() : 0};
}

inline std::span<const float> LlamaCppModel::evaluate_all(TokenSpan tokens) {
    check(tokens);
    const std::array<LlamaCppModel*, 1> self{this};
    static_cast<void>(pass(self, std::array{tokens}, {}, true, logits_));
    return logits_;
}

inline void LlamaCppModel::check_each(std::span<LlamaCppModel* const> models, std::span<const TokenSpan> tokens) {
    FLASHBACK_ASSERT(!models.empty(), "evaluate_each needs at least 1 model, found none");
    FLASHBACK_ASSERT(models.size() == tokens.size(), models.size(), " models were given ", tokens.size(), " texts");
    for (std::size_t i = 0; i < models.size(); ++i) {
        FLASHBACK_ASSERT(models[i] != nullptr, "model ", i, " of those that evaluate together is null");
        FLASHBACK_ASSERT(std::ranges::count(models, models[i]) == 1, "model ", i, " was given twice");
        FLASHBACK_ASSERT(can_share_passes(*models[0], *models[i]), "model ", i, " is no fork of the same model as model 0");
        models[i]->check(tokens[i]);
    }
}

inline std::span<const float> LlamaCppModel::evaluate_each(std::span<LlamaCppModel* const> models,
                                                           std::span<const TokenSpan> tokens) {
    check_each(models, tokens);
    static_cast<void>(pass(models, tokens, {}, false, models[0]->logits_));
    return models[0]->logits_;
}

}  // namespace flashback::inline FLASHBACK_ISA

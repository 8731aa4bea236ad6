/// \file An adapter over a runtime without weights, which has everything that a LanguageModel may have, and one fault at a time.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/random.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <utility>
#include <vector>

namespace test_testing {

using namespace flashback;

/// What is wrong with an adapter.
enum class Fault {
    none,
    starts_with_a_token,      ///< a model that was just made holds something
    few_logits,               ///< one logit is missing
    nan_logits,               ///< a logit is NaN after some texts
    size_is_one_more,         ///< size() counts what comes next
    puts_bos_in_front,        ///< the first evaluation puts BOS in front, and counts it
    hides_bos_in_front,       ///< it does so if BOS is missing, and does not count it
    first_row,                ///< the logits are those after the first token of a call
    one_batch,                ///< only as many tokens as fit into one batch are evaluated
    rounds_by_batch,          ///< the sums depend on how many tokens are evaluated at once
    differs_each_time,        ///< the same text gives something else later
    shared_logits,            ///< all models give their logits in one buffer
    asking_moves,             ///< size() changes what is held
    forgets_truncation,       ///< truncate changes the count only
    keeps_one_more,           ///< truncate keeps a position too many
    keeps_position,           ///< after truncate the next position is what it was
    grows_by_truncation,      ///< truncate beyond what is held counts positions that there are not
    takes_bad_tokens,         ///< a token that no vocabulary has is skipped
    keeps_half,               ///< what was evaluated before a bad token stays, unseen
    counts_half,              ///< what was evaluated before a bad token stays, and is counted
    other_exception,          ///< a bad token is refused by an exception of another type
    wrong_kind,               ///< a text that is too long is refused as a broken contract
    ignores_window,           ///< the window may be overfilled
    head_grows,               ///< head() gives one token more each time
    all_end,                  ///< every token ends a text
    keeps_first,              ///< truncate(0) keeps the first position
    tokens_keeps,             ///< tokens() has what was cut
    work_is_taken_back,       ///< truncate takes back work()
    rows_shifted,             ///< evaluate_all gives the rows of the tokens before
    stop_leaves_tokens,       ///< a stopped evaluation leaves tokens that are not counted
    stop_says_nothing,        ///< a stopped evaluation gives no logits, but did everything
    fork_shares,              ///< a fork writes into what its model holds
    fork_is_empty,            ///< a fork counts what the model holds, and holds nothing
    rows_mixed,               ///< evaluate_each gives the rows in another order
    pass_keeps_half,          ///< a shared pass that fails leaves what the first models evaluated
    block_stays,              ///< see({}) does not take blocks away
    block_survives_cut,       ///< a cut does not take blocks away
    block_reaches_back,       ///< what is held sees a block that is seen later
    plain_size_is_size,       ///< plain_size() knows nothing of blocks
    attention_is_scores,      ///< attention gives what stands before the softmax
    failure_unnoticed,        ///< a failure of the runtime is not noticed
    failure_keeps,            ///< what the runtime evaluated before it failed stays
    failure_of_another_kind,  ///< a failure of the runtime is said to be a broken contract
    evict_counts_wrong,       ///< evict leaves size() one too large
    fingerprint_stays,        ///< another adapter does not show in fingerprint()
    fingerprint_by_text,      ///< fingerprint() depends on the tokens held
};

class FaultyModel {
public:
    using Block = std::shared_ptr<const std::vector<TokenId>>;
    static constexpr std::size_t vocab = 16;

    explicit FaultyModel(Fault fault, std::size_t window = 160) : fault_(fault), window_(window) {
        if (fault == Fault::starts_with_a_token) told_.push_back(3);
    }
    // Not even moved: a suite must do with that.
    FaultyModel(const FaultyModel&) = delete;
    FaultyModel& operator=(const FaultyModel&) = delete;

    std::span<const float> evaluate(TokenSpan tokens, const std::stop_token& stop = {}) {
        check(tokens);
        if (stop.stop_requested()) return stopped(tokens);
        return run(tokens);
    }
    std::span<const float> evaluate_all(TokenSpan tokens) {
        check(tokens);
        all_.clear();
        const std::vector<float> before = tokens.empty() ? std::vector<float>(vocab) : logits_;
        for (const TokenId& token : tokens) {
            run({&token, 1});
            all_.insert(all_.end(), logits_.begin(), logits_.end());
        }
        if (is(Fault::rows_shifted)) {
            all_.insert(all_.begin(), before.begin(), before.end());
            all_.resize(tokens.size() * vocab);
        }
        return all_;
    }
    static std::span<const float> evaluate_each(std::span<FaultyModel* const> models, std::span<const TokenSpan> tokens) {
        FaultyModel& first = *models.front();
        if (!first.is(Fault::pass_keeps_half))
            for (std::size_t i = 0; i < models.size(); ++i) models[i]->check(tokens[i]);
        first.all_.clear();
        for (std::size_t i = 0; i < models.size(); ++i) {
            models[i]->check(tokens[i]);
            models[i]->run(tokens[i]);
            first.all_.insert(first.all_.end(), models[i]->logits_.begin(), models[i]->logits_.end());
        }
        if (first.is(Fault::rows_mixed) && models.size() > 2)
            std::swap_ranges(first.all_.begin(), first.all_.begin() + vocab, first.all_.begin() + vocab);
        return first.all_;
    }

    void truncate(std::size_t length) {
        if (length > told_.size() && is(Fault::grows_by_truncation)) {
            told_.resize(std::min<std::size_t>(length, 99));
            return;
        }
        FLASHBACK_ASSERT(length <= told_.size(), "a model of ", told_.size(), " tokens cannot be cut to ", length);
        if (is(Fault::keeps_first)) length = std::max(length, std::min<std::size_t>(1, told_.size()));
        if (is(Fault::work_is_taken_back)) work_ -= told_.size() - length;
        told_.resize(length);
        if (!is(Fault::tokens_keeps)) tokens_ = told_;
        if (is(Fault::forgets_truncation)) return;
        const std::size_t keep = std::min(cache_->size(), length + hidden_ + (is(Fault::keeps_one_more) ? 1 : 0));
        cache_->resize(length == 0 ? 0 : keep);
        if (length == 0) hidden_ = 0;
        if (!is(Fault::keeps_position) || length == 0) position_ = cache_->size();
        if (length <= plain_) {
            plain_ = all_plain;
            if (!is(Fault::block_survives_cut)) blocks_.clear();
        }
    }
    std::size_t size() const {
        if (is(Fault::asking_moves) && !cache_->empty()) cache_->back().token ^= 1;
        return told_.size() + (is(Fault::size_is_one_more) && !told_.empty() ? 1 : 0);
    }
    static std::size_t vocab_size() { return vocab; }

    std::size_t window() const { return window_; }
    TokenSpan head() const {
        if (is(Fault::head_grows)) head_.push_back(1);
        return head_;
    }
    bool is_end(TokenId token) const { return token == 2 || is(Fault::all_end); }
    TokenSpan tokens() const { return tokens_; }
    std::size_t work() const { return work_; }
    std::uint64_t fingerprint() const {
        return 7 + (is(Fault::fingerprint_stays) ? 0 : adapter_) + (is(Fault::fingerprint_by_text) ? told_.size() : 0);
    }

    FaultyModel fork() const { return FaultyModel{*this, 0}; }

    Block block(TokenSpan tokens, std::size_t sees, std::size_t) {
        check(tokens);
        FLASHBACK_ASSERT(sees <= plain_size(), "a block sees ", sees, " positions, but ", plain_size(), " are plain");
        work_ += tokens.size();
        return std::make_shared<const std::vector<TokenId>>(tokens.begin(), tokens.end());
    }
    void see(std::vector<Block> blocks) {
        if (blocks.empty() && is(Fault::block_stays)) return;
        if (!blocks.empty()) plain_ = std::min(plain_, told_.size());
        blocks_ = std::move(blocks);
        if (is(Fault::block_reaches_back))
            for (Cell& cell : *cache_) cell.seen = seen();
    }
    std::size_t plain_size() const { return is(Fault::plain_size_is_size) ? told_.size() : std::min(plain_, told_.size()); }

    void evict(std::size_t first, std::size_t count) {
        const auto cut = [&](auto& all) {
            all.erase(all.begin() + static_cast<std::ptrdiff_t>(first),
                      all.begin() + static_cast<std::ptrdiff_t>(first + count));
        };
        cut(*cache_);
        cut(told_);
        if (is(Fault::evict_counts_wrong)) told_.push_back(1);
        tokens_ = told_;
        position_ = cache_->size();
    }
    static bool can_evict() { return true; }

    AttentionWeights attention(std::size_t) {
        const float weight = is(Fault::attention_is_scores) ? 3.0f : 1.0f / static_cast<float>(told_.size());
        weights_.assign(2 * told_.size(), weight);
        return {weights_, 2};
    }
    static std::size_t layers() { return 2; }

    void set_adapter(std::uint64_t number) { adapter_ = number; }
    void fail_next() { fails_ = true; }

private:
    /// What the runtime has at a position.
    struct Cell {
        TokenId token;
        std::size_t position;
        std::uint64_t seen;
    };
    static constexpr std::size_t all_plain = std::numeric_limits<std::size_t>::max();

    FaultyModel(const FaultyModel& from, int)
        : fault_(from.fault_),
          window_(from.window_),
          cache_(from.is(Fault::fork_shares) ? from.cache_ : std::make_shared<std::vector<Cell>>(*from.cache_)),
          position_(from.position_),
          hidden_(from.hidden_),
          told_(from.told_),
          tokens_(from.tokens_),
          blocks_(from.blocks_),
          plain_(from.plain_),
          adapter_(from.adapter_) {
        if (is(Fault::fork_is_empty)) cache_->clear();
    }

    bool is(Fault fault) const { return fault_ == fault; }

    void check(TokenSpan tokens) {
        FLASHBACK_ASSERT(!tokens.empty(), "evaluate needs at least 1 token, found none");
        if (told_.size() + tokens.size() > window_ && !is(Fault::ignores_window)) {
            FLASHBACK_THROW(is(Fault::wrong_kind) ? ErrorCode::contract : ErrorCode::window, tokens.size(),
                            " tokens more than ", told_.size(), " do not fit into the window of ", window_);
        }
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            if (tokens[i] >= 0 && static_cast<std::size_t>(tokens[i]) < vocab) continue;
            if (is(Fault::takes_bad_tokens)) return;
            if (is(Fault::keeps_half))
                for (const TokenId token : tokens.first(i)) feed(token);
            if (is(Fault::counts_half) && i > 0) run(tokens.first(i));
            if (is(Fault::other_exception)) throw std::runtime_error("decode failed");
            FLASHBACK_THROW(ErrorCode::contract, "token ", tokens[i], " is not in the vocabulary of ", vocab, " tokens");
        }
    }

    std::uint64_t seen() const {
        std::uint64_t all = 0;
        for (const Block& block : blocks_)
            for (const TokenId token : *block) all = random_key(all, token);
        return all;
    }

    void feed(TokenId token) { cache_->push_back({token, position_++, seen()}); }

    void fail(TokenSpan tokens) {
        fails_ = false;
        if (is(Fault::failure_keeps)) feed(tokens.front()), feed(tokens[1]);
        if (is(Fault::failure_unnoticed)) return;
        FLASHBACK_THROW(is(Fault::failure_of_another_kind) ? ErrorCode::contract : ErrorCode::engine, "the runtime failed");
    }

    std::span<const float> run(TokenSpan tokens) {
        if (fails_) fail(tokens);
        if (told_.empty() && is(Fault::puts_bos_in_front)) told_.push_back(1), feed(1);
        if (told_.empty() && is(Fault::hides_bos_in_front) && tokens.front() != 1) hidden_ = 1, feed(1);
        std::size_t fed = 0;
        for (const TokenId token : tokens) {
            if (is(Fault::one_batch) && fed == 32) break;
            if (!(is(Fault::first_row) && fed > 0)) feed(token);
            if (++fed == 1 && is(Fault::first_row)) logits_of(tokens.size());
            if (fed > 1 && is(Fault::first_row)) feed(token);
        }
        if (!is(Fault::first_row)) logits_of(tokens.size());
        append(told_, tokens);
        tokens_ = told_;
        work_ += tokens.size();
        if (is(Fault::shared_logits)) {
            static std::vector<float> shared;
            shared = logits_;
            return shared;
        }
        return {logits_.data(), vocab - (is(Fault::few_logits) ? 1 : 0)};
    }

    void logits_of(std::size_t batch) {
        std::uint64_t key = is(Fault::differs_each_time) ? work_ + (++calls) : 0;
        for (const Cell& cell : *cache_) key = random_key(key, cell.token, cell.position, cell.seen);
        SplitMix64 random{key + adapter_};
        for (float& logit : logits_) logit = static_cast<float>(4 * random.uniform());
        if (is(Fault::rounds_by_batch) && batch > 1) logits_[5] += 0.001f;
        if (is(Fault::nan_logits) && cache_->size() > 20) logits_[9] = std::numeric_limits<float>::quiet_NaN();
    }

    /// It takes two tokens of those that it was given.
    std::span<const float> stopped(TokenSpan tokens) {
        const TokenSpan some =
            tokens.first(is(Fault::stop_says_nothing) ? tokens.size() : std::min<std::size_t>(2, tokens.size() - 1));
        if (is(Fault::stop_leaves_tokens)) {
            for (const TokenId token : some) feed(token);
        } else if (!some.empty()) {
            run(some);
        }
        return {};
    }

    static inline std::uint64_t calls = 0;

    Fault fault_;
    std::size_t window_;
    std::shared_ptr<std::vector<Cell>> cache_ = std::make_shared<std::vector<Cell>>();
    std::size_t position_ = 0;
    std::size_t hidden_ = 0;
    TokenBuffer told_;    // what the adapter believes
    TokenBuffer tokens_;  // what it tells
    std::vector<Block> blocks_;
    std::size_t plain_ = all_plain;
    std::uint64_t adapter_ = 0;
    std::size_t work_ = 0;
    bool fails_ = false;
    mutable TokenBuffer head_{1};
    std::vector<float> logits_ = std::vector<float>(vocab);
    std::vector<float> all_;
    std::vector<float> weights_;
};

static_assert(BatchedModel<FaultyModel> && ForkableModel<FaultyModel> && ScoringModel<FaultyModel> &&
              InterruptibleModel<FaultyModel> && RemembersTokens<FaultyModel> && FingerprintedModel<FaultyModel> &&
              BlockModel<FaultyModel> && RotatingModel<FaultyModel> && AttentiveModel<FaultyModel> && CountsWork<FaultyModel>);

}  // namespace test_testing

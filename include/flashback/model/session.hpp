/// \file A session: shared weights, one KV cache, and the tokens that it holds.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/copy_positions.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a session.
struct SessionOptions {
    std::size_t window = 0;     ///< the most positions to hold; 0 = as many as the model was trained for, also the limit
    std::size_t piece = 256;    ///< tokens evaluated at once: limits the scratch memory, changes no bit of the logits
    ExecutorRef executor = {};  ///< must outlive the session
    std::optional<DType> cache =
        {};  ///< element of the KV cache: f32, f16 or bf16; by default Transformer::default_cache_element()
    std::shared_ptr<const PackedAdapter> adapter = {};  ///< LoRA and input embedding rows on top of the model; null: none
    std::size_t block_gap = default_block_gap;          ///< how far in front of a token a block must stand to be seen by it
    float adapter_scale = 1;                            ///< times the LoRA's own scale; it does not change replaced rows
};

/// A model with its KV cache. Logits are a function of the tokens held, and of the blocks that they see, and of nothing else, to the bit. It does not matter how
/// the tokens were split into calls, what was cut off before, or how many threads work.
///
/// It is move-only; `fork` makes a branch, visibly. It belongs to one thread at a time; the weights are shared.
/// Requires  a session that was moved from is only assigned to or destroyed
template <class Cache>
class BasicSession {
    static_assert(KVCache<Cache>, "flashback: the cache of a session must satisfy KVCache (see flashback/kv/kv_cache.hpp)");

public:
    using Block = BasicKVBlock<Cache>;
    using Store = BasicBlockStore<Cache>;

    /// Blocks are looked for in `store`, and kept there, if there is one.
    /// Throws    Error{contract} for a null model, a piece of 0 tokens, a window beyond the model's, an adapter that was packed
    ///           for a model of another shape, or a store whose file is of another fingerprint or shape; std::bad_alloc
    /// Cost      reserves the cache of the whole window and the scratch of one piece; nothing grows later
    explicit BasicSession(std::shared_ptr<const Transformer> model, SessionOptions options = {},
                          std::shared_ptr<Store> store = {})
        : model_(checked(std::move(model), options)),
          options_(options),
          cache_(
              KVShape{model_->config.layers, model_->config.kv_heads, model_->config.head_dim, options.window, *options.cache}),
          work_(model_->config, std::min(options.piece, options.window), options.adapter ? options.adapter->most_rank() : 0),
          logits_(simd::padded(model_->config.vocab)),
          store_(std::move(store)) {
        if (store_ && store_->file()) store_->file()->check_session(fingerprint(), cache_.shape());
        tokens_.reserve(options_.window);
    }

    const Transformer& model() const noexcept { return *model_; }
    /// The adapter on top of the model, or null.
    const PackedAdapter* adapter() const noexcept { return options_.adapter.get(); }

    /// Number of positions held.
    std::size_t size() const noexcept { return tokens_.size(); }
    /// Number of logits: one for each token of the model, none for tokens that an adapter adds as input.
    std::size_t vocab_size() const noexcept { return model_->config.vocab; }
    /// The most positions that the session can hold.
    std::size_t window() const noexcept { return options_.window; }
    /// What keys and values are rounded to.
    DType cache_element() const noexcept { return cache_.shape().element; }
    /// What keys and values depend on besides the tokens: the fingerprint of the model, the element type that they are rounded
    /// to, and the adapter with its scale. If it differs, a cache is of no use.
    /// Requires  a model that has a fingerprint; every model that this library makes has one
    std::uint64_t fingerprint() const noexcept {
        Fingerprint all;
        all.add(model_->fingerprint);
        all.add(static_cast<std::uint64_t>(cache_element()));
        if (options_.adapter) {
            all.add(options_.adapter->fingerprint());
            all.add(std::uint64_t{std::bit_cast<std::uint32_t>(options_.adapter_scale)});
        }
        return all.value();
    }
    /// The tokens that were evaluated, ever, those of blocks included.
    std::size_t work() const noexcept { return evaluated_; }
    /// Where blocks are looked for and kept, or null.
    const std::shared_ptr<Store>& store() const noexcept { return store_; }
    /// The tokens at the positions held.
    TokenSpan tokens() const noexcept { return tokens_; }
    /// The tokens that the model wants in front of every text: BOS, or none.
    TokenSpan head() const noexcept { return model_->text_head; }
    /// Whether a token ends a text.
    bool is_end(TokenId token) const noexcept { return model_->is_end(token); }

    /// Appends tokens and gives the logits after the last, valid until the next call. If `stop` is requested before a piece of
    /// `SessionOptions::piece` tokens, the pieces evaluated so far stay, and there are no logits: the span is empty. size() and
    /// tokens() say how far it came, and the next call goes on from there.
    /// Shape     (vocab_size()), or (0) when stopped
    /// Requires  `tokens` is not a view of this session's own `tokens()`
    /// Throws    Error{contract} for no tokens, or an id for which neither the model nor its adapter has an input row;
    ///           Error{window} if they do not fit; then nothing has changed
    /// Cost      allocates nothing; the head is evaluated for the last token only
    std::span<const float> evaluate(TokenSpan tokens, std::stop_token stop = {}) {
        check(tokens);
        const bool whole = pieces(tokens, stop, [&](std::size_t rows, bool last) {
            if (last) logits_of(parts(), rows - 1, 1, logits_.data());
        });
        return {logits_.data(), whole ? vocab_size() : 0};
    }

    /// Appends tokens and gives the logits after each of them, valid until the next call; it stops as `evaluate` does.
    /// Shape     (tokens.size(), vocab_size()) row-major, or (0) when stopped
    /// Throws    as `evaluate`, and std::bad_alloc
    /// Cost      holds (tokens.size() + 16) · vocab_size() floats: evaluate long texts in blocks
    std::span<const float> evaluate_all(TokenSpan tokens, std::stop_token stop = {}) {
        check(tokens);
        all_logits_.resize(tokens.size() * vocab_size());
        const std::size_t stride = simd::padded(vocab_size());
        const std::size_t block = std::min({rows_of_logits, work_.rows, tokens.size()});
        if (some_logits_.size() < block * stride) some_logits_ = AlignedBuffer<float>{block * stride};
        float* out = all_logits_.data();
        const bool whole = pieces(tokens, stop, [&](std::size_t rows, bool) {
            for (std::size_t first = 0; first < rows; first += block) {
                const std::size_t count = std::min(block, rows - first);
                logits_of(parts(), first, count, some_logits_.data());
                for (std::size_t r = 0; r < count; ++r, out += vocab_size())
                    std::copy_n(some_logits_.data() + r * stride, vocab_size(), out);
            }
        });
        return {all_logits_.data(), whole ? all_logits_.size() : 0};
    }

    /// Evaluates tokens beside the text, where the text never sees them: each sees the first `sees` positions held, the head, and the
    /// block up to itself. What is held stays as it is. If the store has the block, nothing is evaluated.
    /// Requires  the first `sees` positions see no blocks
    /// Throws    Error{contract} as `evaluate`, or if fewer than `sees` such positions are held; Error{window} if the model was trained
    ///           for fewer positions than the last one of the block; std::bad_alloc; then nothing has changed
    /// Cost      a forward pass over the tokens without the output matrix, and a cache for them
    std::shared_ptr<const Block> block(TokenSpan tokens, std::size_t sees, std::size_t first_position) {
        check_ids(tokens);
        FLASHBACK_ASSERT(sees <= plain_size(), "a block sees ", sees, " positions of the text, but ", plain_size(),
                         " are held");
        if (first_position > model_->config.window || tokens.size() > model_->config.window - first_position) {
            FLASHBACK_THROW(ErrorCode::window, "a block of ", tokens.size(), " tokens from position ", first_position,
                            " on does not fit into the ", model_->config.window, " positions of the model");
        }
        const BlockKey key{fingerprint(), this->tokens().first(sees), first_position, tokens};
        if (store_) {
            if (auto found = store_->find(key)) return found;
        }
        KVShape shape = cache_.shape();
        shape.positions = tokens.size();
        auto made = std::make_shared<Block>(Block{
            Cache{shape}, {tokens.begin(), tokens.end()}, {key.seen.begin(), key.seen.end()}, first_position, key.fingerprint});
        const SeenPositions<Cache> head{&cache_, sees};
        for (std::size_t done = 0; done < tokens.size();) {
            const TokenSpan piece = tokens.subspan(done, std::min(tokens.size() - done, work_.rows));
            forward(parts(), piece, {done, first_position + done, {&head, sees > 0 ? 1u : 0u}}, made->cache);
            done += piece.size();
            made->cache.commit(done);
        }
        evaluated_ += tokens.size();
        if (store_) return store_->keep(std::move(made));
        return made;
    }

    /// Lets the tokens that are evaluated from now on see these blocks, and no others: first what is held, then the blocks in this
    /// order, then those tokens up to themselves. Their positions go on after what is held, which keeps what it saw. Of a block, a
    /// token sees what stands at least `SessionOptions::block_gap` positions in front of it. If the session is cut back to where it is
    /// now, or before, it sees no blocks any more.
    /// Throws    Error{contract} for a block that is null, was evaluated by a session of another fingerprint, or sees another head
    ///           than the tokens held; std::bad_alloc; then nothing has changed
    /// Cost      copies pointers, and the positions that saw other blocks; the first call reserves a second cache of the whole window.
    ///           Tokens in front of the end of a block are evaluated one by one
    void see(std::vector<std::shared_ptr<const Block>> blocks) {
        for (const auto& block : blocks) {
            FLASHBACK_ASSERT(block != nullptr, "a session cannot see a block that is null");
            FLASHBACK_ASSERT(block->fingerprint == fingerprint(), "a block was evaluated with the fingerprint ",
                             block->fingerprint, ", but this session has ", fingerprint());
            FLASHBACK_ASSERT(
                block->seen.size() <= plain_size() && std::ranges::equal(block->seen, tokens().first(block->seen.size())),
                "a block sees a head of ", block->seen.size(), " tokens that are not the first ones of this session");
        }
        if (!tail_ && !blocks.empty()) tail_.emplace(cache_.shape());
        seen_.reserve(blocks.size() + 1);
        if (tail_ && tail_->size() > 0) {
            const std::size_t front = cache_.size();
            plain_ = std::min(plain_, front);
            copy_positions(*tail_, {0, size() - front}, cache_, front);
            cache_.commit(size());
            tail_->truncate(0);
        }
        blocks_ = std::move(blocks);
    }

    /// Number of positions in front of the first that saw blocks, or positions that did: those of plain text.
    std::size_t plain_size() const noexcept { return std::min(plain_, cache_.size()); }
    /// The blocks that the tokens see which are evaluated next.
    std::span<const std::shared_ptr<const Block>> blocks() const noexcept { return blocks_; }

    /// Forgets all positions >= length. If no position is left that sees blocks, the next tokens see none.
    /// Throws    Error{contract} if length is beyond size(); then nothing has changed
    void truncate(std::size_t length) {
        FLASHBACK_ASSERT(length <= size(), "a session of ", size(), " tokens cannot be cut to ", length);
        if (length > cache_.size()) {
            tail_->truncate(length - cache_.size());
        } else {
            if (tail_) tail_->truncate(0);
            cache_.truncate(length);
            blocks_.clear();
            if (length <= plain_) plain_ = nowhere;
        }
        tokens_.resize(length);
    }

    /// A second session that holds the same tokens and goes its own way; the weights are shared.
    /// Throws    std::bad_alloc
    /// Cost      copies the positions held
    BasicSession fork() const {
        BasicSession branch{model_, options_, store_};
        branch.cache_ = cache_.fork();
        if (!blocks_.empty()) {
            branch.tail_ = tail_->fork();
            branch.blocks_ = blocks_;
            branch.seen_.reserve(blocks_.size() + 1);
        }
        branch.plain_ = plain_;
        branch.tokens_.assign(tokens_.begin(), tokens_.end());
        return branch;
    }

private:
    static std::shared_ptr<const Transformer> checked(std::shared_ptr<const Transformer> model, SessionOptions& options) {
        FLASHBACK_ASSERT(model != nullptr, "a session needs a model, found null");
        if (options.window == 0) options.window = model->config.window;
        FLASHBACK_ASSERT(options.window <= model->config.window, "the model was trained for ", model->config.window,
                         " positions, but the session asks for a window of ", options.window);
        if (!options.cache) options.cache = model->default_cache_element();
        FLASHBACK_ASSERT(options.piece > 0, "a session evaluates pieces of at least 1 token, found 0");
        FLASHBACK_ASSERT(!options.adapter || options.adapter->fits(model->config),
                         "the adapter of a session was packed for a model of another shape");
        FLASHBACK_ASSERT(std::isfinite(options.adapter_scale), "a session scales its adapter by ", options.adapter_scale,
                         ", expected a number");
        FLASHBACK_ASSERT(options.adapter || options.adapter_scale == 1, "a session scales an adapter by ",
                         options.adapter_scale, ", but has none");
        return model;
    }

    void check(TokenSpan tokens) const {
        check_ids(tokens);
        if (tokens.size() > window() - size()) {
            FLASHBACK_THROW(ErrorCode::window, "the session holds ", size(), " of ", window(), " positions, and ",
                            tokens.size(), " more do not fit");
        }
    }

    void check_ids(TokenSpan tokens) const {
        FLASHBACK_ASSERT(!tokens.empty(), "evaluate needs at least 1 token, found none");
        for (const TokenId token : tokens) {
            FLASHBACK_ASSERT((token >= 0 && static_cast<std::size_t>(token) < vocab_size()) ||
                                 (options_.adapter && options_.adapter->embedding_row(token)),
                             "token ", token, " is not in the vocabulary of ", vocab_size(),
                             options_.adapter && !options_.adapter->embedding_ids().empty()
                                 ? " tokens, nor has the adapter a row for it"
                                 : " tokens");
        }
    }

    ForwardParts parts() noexcept {
        return {*model_, work_, options_.executor, {options_.adapter.get(), options_.adapter_scale}};
    }

    // Tells whether all pieces were evaluated. If one of them throws, none counts: what is not committed is overwritten by the
    // next call.
    template <class AfterPiece>
    bool pieces(TokenSpan tokens, const std::stop_token& stop, const AfterPiece& after_piece) {
        const bool sees_blocks = !blocks_.empty();
        const std::size_t front = sees_blocks ? cache_.size() : 0;  // positions in front of those of the cache that is written
        Cache& cache = sees_blocks ? *tail_ : cache_;
        TokenSpan rest = tokens;
        while (!rest.empty() && !stop.stop_requested()) {
            const std::size_t position = size() + (tokens.size() - rest.size());
            const bool same = look(position, front);
            const TokenSpan piece = rest.first(same ? std::min(rest.size(), work_.rows) : 1);
            forward(parts(), piece, {position - front, position, seen_}, cache);
            rest = rest.subspan(piece.size());
            after_piece(piece.size(), rest.empty());
        }
        evaluated_ += tokens.size() - rest.size();
        append(tokens_, tokens.first(tokens.size() - rest.size()));
        cache.commit(tokens_.size() - front);
        return rest.empty();
    }

    /// Writes to `seen_` what a token sees besides its own cache. Tells whether the tokens after it see the same.
    bool look(std::size_t position, std::size_t front) {
        seen_.clear();
        if (front > 0) seen_.push_back({&cache_, front});
        bool same = true;
        for (const auto& block : blocks_) {
            const std::size_t seen = positions_seen(position, block->first_position, options_.block_gap);
            if (seen > 0) seen_.push_back({&block->cache, std::min(block->tokens.size(), seen)});
            same = same && seen >= block->tokens.size();
        }
        return same;
    }

    static constexpr std::size_t rows_of_logits = 16;  // this many share one reading of the head
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    std::shared_ptr<const Transformer> model_;
    SessionOptions options_;
    Cache cache_;                                       // of the tokens that do not see the present blocks
    std::optional<Cache> tail_;                         // of those that do
    std::size_t plain_ = nowhere;                       // where the first token is that saw blocks, of those in `cache_`
    std::vector<std::shared_ptr<const Block>> blocks_;  // empty: no token sees any
    std::vector<SeenPositions<Cache>> seen_;            // room for what an evaluation sees
    Workspace work_;
    AlignedBuffer<float> logits_;
    AlignedBuffer<float> some_logits_;
    std::vector<float> all_logits_;
    std::vector<TokenId> tokens_;
    std::shared_ptr<Store> store_;
    std::size_t evaluated_ = 0;
};

/// The everyday session; `kind` is `extern` or nothing.
#define FLASHBACK_DETAIL_SESSION(kind) kind template class BasicSession<ContiguousKVCache>;
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_SESSION(extern)
#endif

static_assert(LanguageModel<Session> && ForkableModel<Session> && ScoringModel<Session> && InterruptibleModel<Session> &&
              RemembersTokens<Session> && FingerprintedModel<Session> && BlockModel<Session> && CountsWork<Session>);

}  // namespace flashback::inline FLASHBACK_ISA

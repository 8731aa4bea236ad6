/// \file A session: shared weights, one KV cache, and the tokens that it holds.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/kv/kv_state.hpp"
#include "flashback/model/detail/session_cache.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/session_options.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A model with its KV cache. Logits are a function of the tokens held, and of the blocks that they see, and of nothing else, to the bit. It does not matter how
/// the tokens were split into calls, what was cut off before, or how many threads work.
///
/// It is move-only; `fork` makes a branch, visibly. It belongs to one thread at a time; the weights are shared.
/// Requires  a session that was moved from is only assigned to or destroyed
template <class Cache>
class BasicSession {
    static_assert(KVCache<Cache>, "flashback: the cache of a session must satisfy KVCache (see flashback/kv/kv_cache.hpp)");

public:
    /// What a passage beside the text is kept as.
    using Block = BasicKVBlock<Cache>;
    /// Where such blocks are kept.
    using Store = BasicBlockStore<Cache>;

    /// Blocks are looked for in `store`, and kept there, if there is one.
    /// Throws    Error{contract} for a null model, a piece of 0 tokens, a window beyond the model's, an adapter that was packed
    ///           for a model of another shape, or a store whose file is of another fingerprint or shape; std::bad_alloc
    /// Cost      reserves the cache of the whole window and the scratch of one piece; nothing grows later, but a cache of pages
    explicit BasicSession(std::shared_ptr<const Transformer> model, SessionOptions options = {},
                          std::shared_ptr<Store> store = {})
        : BasicSession(std::move(model), options, std::move(store), [](const KVShape& shape) { return Cache{shape}; }) {}

    /// Likewise, but `make_cache(shape)` gives the cache: one that takes its pages from a pool, say.
    /// Throws    Error{contract} also if that cache has another shape; what `make_cache` throws
    template <std::invocable<const KVShape&> MakeCache>
    BasicSession(std::shared_ptr<const Transformer> model, SessionOptions options, std::shared_ptr<Store> store,
                 const MakeCache& make_cache)
        : model_(detail::checked_session(std::move(model), options)),
          options_(options),
          cache_(make_cache(shape_of(*model_, options_)), options_.block_gap, detail::query_floats(model_->config)),
          store_(std::move(store)) {
        FLASHBACK_ASSERT(cache_.shape() == shape_of(*model_, options_) && cache_.text().size() == 0,
                         "the cache that was made for a session has another shape, or holds positions");
        if (store_ && store_->file()) store_->file()->check_session(fingerprint(), cache_.shape());
        tokens_.reserve(options_.window);
        static_cast<void>(scratch());
    }

    /// What the cache of a session is made for.
    /// Throws    Error{contract} as the constructor
    static KVShape cache_shape(const std::shared_ptr<const Transformer>& model, SessionOptions options = {}) {
        return shape_of(*detail::checked_session(model, options), options);
    }

    /// The weights, which sessions share.
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
    ///           Error{window} if they do not fit into the window, or into the pool of a cache of pages; std::bad_alloc; then nothing has changed
    /// Cost      allocates nothing, but pages if a pool has none left, and the scratch of a branch that never evaluated; the head is
    ///           evaluated for the last token only
    std::span<const float> evaluate(TokenSpan tokens, std::stop_token stop = {}) {
        check(tokens);
        const bool whole = pieces(tokens, stop, [&](std::size_t rows, bool last) {
            if (last) logits_of(parts(), rows - 1, 1, scratch().logits.data());
        });
        return {scratch().logits.data(), whole ? vocab_size() : 0};
    }

    /// Appends tokens and gives the logits after each of them, valid until the next call; it stops as `evaluate` does.
    /// Shape     (tokens.size(), vocab_size()) row-major, or (0) when stopped
    /// Throws    as `evaluate`, and std::bad_alloc
    /// Cost      holds (tokens.size() + 16) · vocab_size() floats: evaluate long texts in blocks
    std::span<const float> evaluate_all(TokenSpan tokens, std::stop_token stop = {}) {
        check(tokens);
        std::vector<float>& all = scratch().all_logits;
        all.resize(tokens.size() * vocab_size());
        float* out = all.data();
        const bool whole = pieces(tokens, stop, [&](std::size_t rows, bool) {
            each_logits(rows, [&](const float* logits) { out = std::copy_n(logits, vocab_size(), out); });
        });
        return {all.data(), whole ? all.size() : 0};
    }

    /// Whether two sessions can share passes: they have the same weights, adapter, scale of it, and element of the cache.
    static bool can_share_passes(const BasicSession& a, const BasicSession& b) noexcept {
        return a.model_ == b.model_ && a.options_.adapter == b.options_.adapter &&
               a.options_.adapter_scale == b.options_.adapter_scale && a.cache_element() == b.cache_element();
    }

    /// Appends tokens to each of several sessions, in passes that they share, and gives the logits after the last token of each, valid
    /// until the first session evaluates again. Each comes to the bits that it comes to alone.
    /// Shape     (sessions.size(), vocab_size()) row-major
    /// Requires  nobody else uses one of the sessions meanwhile
    /// Throws    Error{contract} for no sessions, another number of texts, a session that is null or given twice, or sessions that cannot
    ///           share passes; as `evaluate` for each of them; then nothing has changed, but a page that was about to be written may be a
    ///           copy already
    /// Cost      reads the weights once for each piece of the first session, not once for each session
    static std::span<const float> evaluate_each(std::span<BasicSession* const> sessions, std::span<const TokenSpan> tokens);

    /// Evaluates tokens beside the text, where the text never sees them: each sees the first `sees` positions held, the head, and the
    /// block up to itself. What is held stays as it is. If the store has the block, nothing is evaluated.
    /// Requires  the first `sees` positions see no blocks
    /// Throws    Error{contract} as `evaluate`, or if fewer than `sees` such positions are held; Error{window} if the model was trained
    ///           for fewer positions than the last one of the block; std::bad_alloc; then nothing has changed
    /// Cost      a forward pass over the tokens without the output matrix, and a cache for them, whose memory is its own: a store bounds
    ///           it, a pool of pages does not
    std::shared_ptr<const Block> block(TokenSpan tokens, std::size_t sees, std::size_t first_position);

    /// Lets the tokens that are evaluated from now on see these blocks, and no others: first what is held, then the blocks in this
    /// order, then those tokens up to themselves. Their positions go on after what is held, which keeps what it saw. Of a block, a
    /// token sees what stands at least `SessionOptions::block_gap` positions in front of it. If the session is cut back to where it is
    /// now, or before, it sees no blocks any more.
    /// Throws    Error{contract} for a block that is null, was evaluated by a session of another fingerprint, or sees another head
    ///           than the tokens held; std::bad_alloc, or Error{window}, if there is no memory for what saw other blocks; then nothing
    ///           has changed
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
        cache_.see(std::move(blocks));
    }

    /// Number of positions in front of the first that saw blocks, or positions that did, or was moved: those of plain text.
    std::size_t plain_size() const noexcept { return cache_.plain_size(); }
    /// The blocks that the tokens see which are evaluated next.
    std::span<const std::shared_ptr<const Block>> blocks() const noexcept { return cache_.blocks(); }

    /// Number of layers.
    std::size_t layers() const noexcept { return model_->config.layers; }
    /// What the position that was evaluated last reads, by the heads of a layer; valid until the next call. It is computed now, from the
    /// keys that are held and that position's query; the scores are those of its evaluation, to the bit. A fork knows it, too. It is not known if
    /// nothing was evaluated since the session was made, restored, cut, let see blocks, or made to forget positions; nor if an evaluation threw.
    /// Shape     weights (heads, positions): those held, then those that it saw of each block, in the order of blocks()
    /// Throws    Error{contract} if there is no such layer, or if it is not known; std::bad_alloc; then nothing has changed
    /// Cost      head_dim multiply-adds and an exponential for each head and position, and room for the weights
    AttentionWeights attention(std::size_t layer);

    /// Forgets all positions >= length. If no position is left that sees blocks, the next tokens see none.
    /// Throws    Error{contract} if length is beyond size(); then nothing has changed
    void truncate(std::size_t length) {
        FLASHBACK_ASSERT(length <= size(), "a session of ", size(), " tokens cannot be cut to ", length);
        cache_.truncate(length);
        tokens_.resize(length);
    }

    /// Whether positions can be moved: those of rotary models can, learned ones cannot.
    bool can_evict() const noexcept { return model_->config.positions == Positions::rotary; }

    /// Forgets the positions [first, first + count). What follows moves to their place: its keys are turned back by `count` positions and
    /// rounded once more, its values stay. Approximate: they are those of a text that held what is forgotten, so plain_size() is at most
    /// `first` from now on, and nothing behind it is saved or kept in a PrefixStore.
    /// Throws    Error{contract} if positions are learned, if there are fewer, or while blocks are seen; std::bad_alloc, or Error{window} if a
    ///           pool lacks pages; then nothing has changed
    /// Cost      a copy of what follows; if the cache has pages, a fork of it while that is made
    /// Source    Xiao et al. 2023, StreamingLLM (arXiv 2309.17453), section 3.2, where keys are turned when they are read
    void evict(std::size_t first, std::size_t count);

    /// A second session that holds the same tokens and goes its own way; the weights are shared.
    /// Throws    std::bad_alloc
    /// Cost      a fork of the cache: a copy of the positions held, or pointers to pages. The branch reserves its scratch when it first
    ///           evaluates by itself. It has the same executor, which evaluates for one thread at a time
    BasicSession fork() const { return BasicSession{*this, cache_.fork()}; }

    /// The cache that holds the first plain_size() positions.
    const Cache& cache() const noexcept { return cache_.text(); }

    /// Holds what a cache holds, the first of these tokens, in place of what it holds.
    /// Requires  a session of the same fingerprint evaluated them so; `tokens` is not a view of this session's own
    /// Throws    Error{contract} for a cache of another shape, or of more positions than tokens; std::bad_alloc; then nothing has changed
    void adopt(Cache cache, TokenSpan tokens) {
        FLASHBACK_ASSERT(cache.shape() == cache_.shape() && cache.size() <= tokens.size(), "a session was given a cache of ",
                         cache.size(), " positions for ", tokens.size(), " tokens, or one of another shape");
        const TokenSpan held = tokens.first(cache.size());
        cache_ = detail::SessionCache<Cache>{std::move(cache), options_.block_gap, detail::query_floats(model_->config)};
        tokens_.assign(held.begin(), held.end());
    }

    /// Writes the first plain_size() positions by `sink(bytes)`; save_session has the usual sinks.
    /// Throws    as write_kv_state
    template <class Sink>
    void save(Sink&& sink) const {
        write_kv_state({fingerprint(), tokens().first(plain_size())}, cache_.text(), sink, options_.executor);
    }

    /// Holds up to `positions` positions that `read` gives, in place of what it holds, and gives their number; restore_session has the usual
    /// readers. Before anything changes, `done(whole)` may throw; it is told whether that was all.
    /// Throws    as read_kv_state; then nothing has changed
    template <class Read, class Done>
    std::size_t restore(Read&& read, std::size_t positions, const std::string& name, const Done& done) {
        Cache fresh = cache_.text().sibling();
        const RestoredTokens held = read_kv_state(fingerprint(), fresh, positions, name, read);
        done(held.whole);
        adopt(std::move(fresh), held.tokens);
        return size();
    }

private:
    /// What evaluating needs besides the cache.
    struct Scratch {
        Workspace work;
        AlignedBuffer<float> logits;
        AlignedBuffer<float> some_logits = {};
        std::vector<float> all_logits = {};
        /// For several sessions: where those of a piece stand, its tokens, and how far each session is.
        struct Progress {
            std::size_t done, rows;  ///< tokens evaluated before this piece, and in it
            bool ends;               ///< whether its tokens end with this piece
        };
        std::vector<PiecePlace<Cache>> places = {};
        std::vector<TokenId> tokens = {};
        std::vector<Progress> each = {};
    };

    BasicSession(const BasicSession& trunk, detail::SessionCache<Cache> cache)
        : model_(trunk.model_), options_(trunk.options_), cache_(std::move(cache)), store_(trunk.store_) {
        tokens_.reserve(options_.window);
        tokens_.assign(trunk.tokens_.begin(), trunk.tokens_.end());
    }

    void check(TokenSpan tokens) const {
        check_ids(tokens);
        if (tokens.size() > window() - size()) {
            FLASHBACK_THROW(ErrorCode::window, "the session holds ", size(), " of ", window(), " positions, and ",
                            tokens.size(), " more do not fit");
        }
    }

    void check_ids(TokenSpan tokens) const;

    static KVShape shape_of(const Transformer& model, const SessionOptions& options) {
        const TransformerConfig& c = model.config;
        return {c.layers, c.kv_heads, c.head_dim, options.window, *options.cache};
    }

    Scratch& scratch() {
        if (!scratch_) {
            const std::size_t rank = options_.adapter ? options_.adapter->most_rank() : 0;
            const std::size_t rows = std::min(options_.piece, options_.window);
            scratch_.reset(new Scratch{Workspace{model_->config, rows, rank, options_.window},
                                       AlignedBuffer<float>{simd::padded(vocab_size())}});
        }
        return *scratch_;
    }

    ForwardParts parts() {
        return {*model_, scratch().work, options_.executor, {options_.adapter.get(), options_.adapter_scale}};
    }

    // Tells whether all pieces were evaluated. If one of them throws, none counts: what is not committed is overwritten by the
    // next call.
    template <class AfterPiece>
    bool pieces(TokenSpan tokens, const std::stop_token& stop, const AfterPiece& after_piece);

    /// Holds tokens that were evaluated.
    void commit(TokenSpan tokens) {
        evaluated_ += tokens.size();
        append(tokens_, tokens);
        cache_.commit(tokens_.size());
    }

    /// Calls `visit(logits)` for each of the first rows of the last piece.
    template <class Visit>
    void each_logits(std::size_t rows, const Visit& visit);

    /// Gives back, at the end of a scope, what was reserved in sessions and is not held.
    struct ReleaseEach {
        explicit ReleaseEach(std::span<BasicSession* const> its) noexcept : sessions(its) {}
        ReleaseEach(const ReleaseEach&) = delete;
        ReleaseEach& operator=(const ReleaseEach&) = delete;
        ~ReleaseEach() {
            for (BasicSession* session : sessions) session->cache_.release_unused();
        }

        std::span<BasicSession* const> sessions;
    };

    static void check_each(std::span<BasicSession* const> sessions, std::span<const TokenSpan> tokens);

    static constexpr std::size_t rows_of_logits = 16;  // this many share one reading of the head

    std::shared_ptr<const Transformer> model_;
    SessionOptions options_;
    detail::SessionCache<Cache> cache_;
    std::unique_ptr<Scratch> scratch_;
    std::vector<TokenId> tokens_;
    std::shared_ptr<Store> store_;
    std::vector<float> attention_;  // what was asked for last
    std::size_t evaluated_ = 0;
};

/// The everyday session; `kind` is `extern` or nothing.
#define FLASHBACK_DETAIL_SESSION(kind) kind template class BasicSession<ContiguousKVCache>;
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_SESSION(extern)
#endif

static_assert(LanguageModel<Session> && BatchedModel<Session> && ForkableModel<Session> && ScoringModel<Session> &&
              InterruptibleModel<Session> && RemembersTokens<Session> && FingerprintedModel<Session> && BlockModel<Session> &&
              CountsWork<Session> && AttentiveModel<Session>);

}  // namespace flashback::inline FLASHBACK_ISA

#include "flashback/model/detail/evaluate_block.hpp"
#include "flashback/model/detail/evaluate_each.hpp"
#include "flashback/model/detail/evaluate_pieces.hpp"
#include "flashback/model/detail/evict.hpp"
#include "flashback/model/detail/session_attention.hpp"

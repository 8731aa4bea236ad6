/// \file A session that never evaluates the beginning of a text twice.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/prefix_store.hpp"
#include "flashback/model/session.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// A session and a store of prefixes as one LanguageModel. What the session holds is kept in the store when it is cut; before tokens are
/// evaluated, the store is asked for them. So a decoder whose layout moves the text, a second conversation over the same beginning and a
/// retry find what was evaluated before, by this session or by another over the same store. Logits are those of the session alone, to
/// the bit. It refers to both.
///
/// The counts of a decoder are those of its plans: they call found tokens evaluated. `work()` counts what really was.
class PrefixCached {
public:
    /// Throws    Error{contract} if the pages of the session come from another pool than those of the store
    PrefixCached(PagedSession& session, PrefixStore& store) : session_(&session), store_(&store) {
        FLASHBACK_ASSERT(session.cache().pool() == store.pool(),
                         "a session over a store of prefixes takes its pages from another pool than the store");
    }

    /// As PagedSession::evaluate. If that throws, the session holds the same tokens, but maybe in pages that the store keeps, too.
    std::span<const float> evaluate(TokenSpan tokens) {
        const std::size_t held = session_->size();
        // The last token is always evaluated: without it there are no logits. So a single one is not looked for. Nor is text that
        // sees passages beside it: the store has plain text only.
        if (tokens.size() < 2 || session_->plain_size() < held || !session_->blocks().empty())
            return session_->evaluate(tokens);
        wanted_.assign(session_->tokens().begin(), session_->tokens().end());
        append(wanted_, tokens);
        const std::size_t most = std::min(wanted_.size() - 1, session_->window());
        PagedKVCache found = store_->find(session_->fingerprint(), TokenSpan{wanted_}.first(most), session_->window());
        if (found.size() <= held) return session_->evaluate(tokens);
        session_->adopt(std::move(found), wanted_);
        ForgetFound forget{session_, held};
        const std::span<const float> logits = session_->evaluate(TokenSpan{wanted_}.subspan(session_->size()));
        forget.session = nullptr;
        return logits;
    }
    /// As PagedSession::truncate; what is held is kept first.
    void truncate(std::size_t length) {
        if (length < session_->size()) keep();
        session_->truncate(length);
    }
    /// Keeps what is held, but not what saw passages beside the text.
    void keep() { store_->keep(session_->fingerprint(), session_->tokens().first(session_->plain_size()), session_->cache()); }

    /// How many tokens the session holds.
    std::size_t size() const noexcept { return session_->size(); }
    /// How many logits there are.
    std::size_t vocab_size() const noexcept { return session_->vocab_size(); }
    /// The most positions.
    std::size_t window() const noexcept { return session_->window(); }
    /// What the session holds.
    TokenSpan tokens() const noexcept { return session_->tokens(); }
    /// What every text begins with: BOS.
    TokenSpan head() const noexcept { return session_->head(); }
    /// Whether a token ends a text.
    bool is_end(TokenId token) const noexcept { return session_->is_end(token); }
    /// Of the session: see LanguageModel.
    std::uint64_t fingerprint() const noexcept { return session_->fingerprint(); }
    /// Tokens that the session has evaluated.
    std::size_t work() const noexcept { return session_->work(); }
    /// Blocks of the model.
    std::size_t layers() const noexcept { return session_->layers(); }
    /// As PagedSession::attention.
    AttentionWeights attention(std::size_t layer) { return session_->attention(layer); }

private:
    /// Cuts a session, at the end of a scope, to what it held before more was found.
    struct ForgetFound {
        ForgetFound(PagedSession* its, std::size_t length) noexcept : session(its), held(length) {}
        ForgetFound(const ForgetFound&) = delete;
        ForgetFound& operator=(const ForgetFound&) = delete;
        ~ForgetFound() {
            if (session != nullptr) session->truncate(held);
        }

        PagedSession* session;
        std::size_t held;
    };

    PagedSession* session_;
    PrefixStore* store_;
    TokenBuffer wanted_;
};

static_assert(LanguageModel<PrefixCached> && RemembersTokens<PrefixCached> && FingerprintedModel<PrefixCached> &&
              CountsWork<PrefixCached> && AttentiveModel<PrefixCached>);

}  // namespace flashback::inline FLASHBACK_ISA

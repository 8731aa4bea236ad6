/// \file Tokens that a session evaluates beside its text.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/session.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

template <class Cache>
std::shared_ptr<const BasicKVBlock<Cache>> BasicSession<Cache>::block(TokenSpan tokens, std::size_t sees,
                                                                      std::size_t first_position) {
    check_ids(tokens);
    FLASHBACK_ASSERT(sees <= plain_size(), "a block sees ", sees, " positions of the text, but ", plain_size(), " are held");
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
    made->cache.reserve(tokens.size());
    const SeenPositions<Cache> head{&cache_.text(), sees};
    for (std::size_t done = 0; done < tokens.size();) {
        const TokenSpan piece = tokens.subspan(done, std::min(tokens.size() - done, scratch().work.rows));
        const PiecePlace<Cache> place{&made->cache, piece.size(), done, first_position + done, {&head, sees > 0 ? 1u : 0u}};
        forward(parts(), piece, PiecePlaces<Cache>{&place, 1});
        done += piece.size();
        made->cache.commit(done);
    }
    evaluated_ += tokens.size();
    if (store_) return store_->keep(std::move(made));
    return made;
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Tokens that a session evaluates, piece by piece.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/session.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>
#include <stop_token>

namespace flashback::inline FLASHBACK_ISA {

template <class Cache>
void BasicSession<Cache>::check_ids(TokenSpan tokens) const {
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

template <class Cache>
template <class AfterPiece>
bool BasicSession<Cache>::pieces(TokenSpan tokens, const std::stop_token& stop, const AfterPiece& after_piece) {
    static_cast<void>(scratch());
    BasicSession* const self = this;
    const ReleaseEach release{{&self, 1}};
    cache_.reserve(size() + tokens.size());
    TokenSpan rest = tokens;
    while (!rest.empty() && !stop.stop_requested()) {
        const std::size_t position = size() + (tokens.size() - rest.size());
        const PiecePlace<Cache> place = cache_.place(position, std::min(rest.size(), scratch().work.rows));
        forward(parts(), rest.first(place.rows), PiecePlaces<Cache>{&place, 1});
        rest = rest.subspan(place.rows);
        after_piece(place.rows, rest.empty());
    }
    commit(tokens.first(tokens.size() - rest.size()));
    return rest.empty();
}

template <class Cache>
template <class Visit>
void BasicSession<Cache>::each_logits(std::size_t rows, const Visit& visit) {
    if (rows == 0) return;
    AlignedBuffer<float>& some = scratch().some_logits;
    const std::size_t stride = simd::padded(vocab_size());
    const std::size_t block = std::min({rows_of_logits, scratch().work.rows, rows});
    if (some.size() < block * stride) some = AlignedBuffer<float>{block * stride};
    for (std::size_t first = 0; first < rows; first += block) {
        const std::size_t count = std::min(block, rows - first);
        logits_of(parts(), first, count, some.data());
        for (std::size_t r = 0; r < count; ++r) visit(some.data() + r * stride);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Several sessions in one pass.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/session.hpp"

#include <algorithm>
#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

template <class Cache>
void BasicSession<Cache>::check_each(std::span<BasicSession* const> sessions, std::span<const TokenSpan> tokens) {
    FLASHBACK_ASSERT(!sessions.empty() && sessions.size() == tokens.size(),
                     "evaluate_each needs at least 1 session, and tokens for each, found ", sessions.size(), " and ",
                     tokens.size());
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        FLASHBACK_ASSERT(sessions[i] != nullptr, "session ", i, " of evaluate_each is null");
        const BasicSession& its = *sessions[i];
        FLASHBACK_ASSERT(std::ranges::count(sessions, sessions[i]) == 1, "session ", i, " was given to evaluate_each twice");
        FLASHBACK_ASSERT(can_share_passes(*sessions.front(), its), "session ", i,
                         " of evaluate_each has another model, adapter, scale or element of the cache than the first");
        its.check(tokens[i]);
    }
}

template <class Cache>
std::span<const float> BasicSession<Cache>::evaluate_each(std::span<BasicSession* const> sessions,
                                                          std::span<const TokenSpan> tokens) {
    check_each(sessions, tokens);
    BasicSession& first = *sessions.front();
    Scratch& s = first.scratch();
    const std::size_t vocab = first.vocab_size();
    s.all_logits.resize(sessions.size() * vocab);
    s.each.assign(sessions.size(), {});
    s.places.reserve(sessions.size());
    const ReleaseEach release{sessions};
    for (std::size_t i = 0; i < sessions.size(); ++i) sessions[i]->cache_.reserve(sessions[i]->size() + tokens[i].size());
    s.tokens.reserve(s.work.rows);
    for (;;) {
        s.places.clear();
        s.tokens.clear();
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            const TokenSpan rest = tokens[i].subspan(s.each[i].done);
            const std::size_t rows = std::min(rest.size(), s.work.rows - s.tokens.size());
            s.each[i].rows = 0;
            if (rows == 0) continue;
            s.places.push_back(sessions[i]->cache_.place(sessions[i]->size() + s.each[i].done, rows));
            s.each[i].rows = s.places.back().rows;
            append(s.tokens, rest.first(s.each[i].rows));
        }
        if (s.tokens.empty()) break;
        forward(first.parts(), s.tokens, PiecePlaces<Cache>{s.places});
        // The last rows of the texts that end in this piece, together: so the weights of the head are read once.
        std::size_t row = 0;
        std::size_t ended = 0;
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            row += s.each[i].rows;
            s.each[i].done += s.each[i].rows;
            s.each[i].ends = s.each[i].rows > 0 && s.each[i].done == tokens[i].size();
            if (!s.each[i].ends) continue;
            const float* last = s.work.stream.data() + (row - 1) * s.work.stream_stride;
            std::copy_n(last, s.work.stream_stride, s.work.stream.data() + ended++ * s.work.stream_stride);
        }
        std::size_t i = 0;
        first.each_logits(ended, [&](const float* logits) {
            while (!s.each[i].ends) ++i;
            std::copy_n(logits, vocab, s.all_logits.data() + i++ * vocab);
        });
    }
    for (std::size_t i = 0; i < sessions.size(); ++i) sessions[i]->commit(tokens[i]);
    return {s.all_logits.data(), s.all_logits.size()};
}

}  // namespace flashback::inline FLASHBACK_ISA

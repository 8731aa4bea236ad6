/// \file Operations that evaluate, cut and branch.
#pragma once

#include "model/kv_operations/world.hpp"

#include "flashback/model/session_state.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_kv_operations {

/// Evaluates tokens, all at once or with all logits, and stops or throws on the way now and then.
template <class S>
void append_tokens(World<S>& w, Branch<S>& branch, TokenSpan more) {
    const bool fits = w.fits(branch, more.size());
    const bool each = w.one_in(8);
    const std::size_t how = w.random.below(12);
    w.executor.source = std::stop_source{};
    w.executor.throws = how == 1;
    if (how == 0) w.executor.source.request_stop();
    const std::size_t at = how == 1 || how == 2 ? 1 + w.random.below(60) : 0;
    std::span<const float> logits;
    const Outcome outcome = w.attempt([&] {
        w.executor.at = at;
        const std::stop_token stop = w.executor.source.get_token();
        logits = each ? branch.session->evaluate_all(more, stop) : branch.session->evaluate(more, stop);
    });
    w.executor.at = 0;
    if (outcome != Outcome::done) {
        REQUIRE(outcome != Outcome::refused);
        if (outcome == Outcome::no_room) REQUIRE_FALSE(fits);
        if (outcome == Outcome::interrupted) REQUIRE(how == 1);
        return w.check_state(branch);
    }
    REQUIRE(fits);
    REQUIRE(branch.session->size() >= branch.tokens.size());
    const std::size_t done = branch.session->size() - branch.tokens.size();
    REQUIRE(done <= more.size());
    if (done < more.size()) {
        ++w.cancelled;
        REQUIRE(logits.empty());
        REQUIRE(w.executor.source.stop_requested());
        if (how == 0) REQUIRE(done == 0);
        return w.grow(branch, more.first(done));
    }
    REQUIRE(how != 0);
    const std::size_t vocab = branch.session->vocab_size();
    REQUIRE(logits.size() == (each ? more.size() * vocab : vocab));
    for (std::size_t i = 0; each && i < more.size(); ++i) {
        TokenBuffer before = branch.tokens;
        append(before, more.first(i + 1));
        REQUIRE(same_bits(logits.subspan(i * vocab, vocab), w.plain.logits(branch.voice, before)));
    }
    w.grow(branch, more);
    w.check_logits(branch, logits.last(vocab));
}

template <class S>
void append_some(World<S>& w) {
    Branch<S>& branch = w.any();
    append_tokens(w, branch, w.after(branch.tokens, w.some(branch)));
}

/// What is no token, or none at all.
template <class S>
void append_nonsense(World<S>& w) {
    Branch<S>& branch = w.any();
    TokenBuffer more = w.after(branch.tokens, w.random.below(4));
    if (!more.empty()) more.back() = w.one_in(2) ? -1 : static_cast<TokenId>(branch.session->vocab_size());
    const Outcome outcome = w.attempt([&] { static_cast<void>(branch.session->evaluate(more)); });
    REQUIRE((outcome == Outcome::refused || outcome == Outcome::no_memory));
    w.check_state(branch);
}

template <class S>
void rewind(World<S>& w) {
    Branch<S>& branch = w.any();
    const std::size_t size = branch.tokens.size();
    const std::size_t length = w.one_in(10)  ? size + 1 + w.random.below(3)
                               : w.one_in(2) ? size - std::min(size, w.random.below(5))
                                             : w.random.below(size + 1);
    const Outcome outcome = w.attempt([&] { branch.session->truncate(length); });
    if (length > size) {
        REQUIRE((outcome == Outcome::refused || outcome == Outcome::no_memory));  // there is no memory for the words
        return w.check_state(branch);
    }
    REQUIRE(outcome == Outcome::done);
    if (length < size)
        w.hold_instead(branch, TokenBuffer{branch.tokens.begin(), branch.tokens.begin() + static_cast<std::ptrdiff_t>(length)});
}

template <class S>
void drop(World<S>& w) {
    if (w.branches.size() == 1) return;
    w.branches.erase(w.branches.begin() + static_cast<std::ptrdiff_t>(w.random.below(w.branches.size())));
}

template <class S>
void fork(World<S>& w) {
    if (w.branches.size() == w.limits.branches) return drop(w);
    Branch<S>& branch = w.any();
    std::unique_ptr<S> copy;
    const std::size_t free = w.free_pages();
    const Outcome outcome = w.attempt([&] { copy = std::make_unique<S>(branch.session->fork()); });
    REQUIRE((outcome == Outcome::done || outcome == Outcome::no_memory));
    REQUIRE(w.free_pages() == free);
    if (outcome == Outcome::done) w.branches.push_back({std::move(copy), branch.voice, branch.tokens, 0, branch.state});
}

/// A session is moved to another place in memory.
template <class S>
void move(World<S>& w) {
    Branch<S>& branch = w.any();
    auto moved = std::make_unique<S>(std::move(*branch.session));
    if (w.one_in(2))
        *branch.session = std::move(*moved);
    else
        branch.session = std::move(moved);
}

/// Another adapter or scale: what was held is of no use, and everything is computed again.
template <class S>
void switch_voice(World<S>& w) {
    Branch<S>& branch = w.any();
    const std::size_t voice = (branch.voice + 1 + w.random.below(w.plain.voices() - 1)) % w.plain.voices();
    std::unique_ptr<S> session;
    if (w.attempt([&] { session = w.make_session(voice); }) != Outcome::done) return w.check_state(branch);
    REQUIRE(session->fingerprint() != branch.session->fingerprint());
    const std::vector<std::byte> bytes = save_session(*branch.session);
    const Outcome outcome = w.attempt([&] { restore_session(*session, bytes); });
    REQUIRE((outcome == Outcome::refused || outcome == Outcome::no_memory));
    REQUIRE(session->size() == 0);
    const TokenBuffer tokens = std::exchange(branch.tokens, {});
    branch = {std::move(session), voice};
    if (!tokens.empty()) append_tokens(w, branch, tokens);
}

/// Several branches in one pass; of different voices, null or twice now and then.
template <class S>
void append_each(World<S>& w) {
    const std::size_t voice = w.any().voice;
    const bool mixes = w.one_in(10);
    std::vector<Branch<S>*> some;
    std::vector<std::size_t> counts;
    std::vector<TokenBuffer> texts;
    for (Branch<S>& branch : w.branches) {
        if ((branch.voice != voice && !mixes) || w.one_in(4)) continue;
        some.push_back(&branch);
        counts.push_back(w.some(branch));
        texts.push_back(w.after(branch.tokens, counts.back()));
    }
    bool window = true;
    bool together = !some.empty();
    for (std::size_t i = 0; i < some.size(); ++i) {
        window = window && some[i]->tokens.size() + counts[i] <= w.limits.window;
        together = together && some[i]->voice == some[0]->voice;
    }
    const bool pages = !window || w.needed(some, counts) <= w.free_pages();
    std::vector<S*> sessions;
    for (Branch<S>* branch : some) sessions.push_back(branch->session.get());
    std::vector<TokenSpan> spans(texts.begin(), texts.end());
    if (w.one_in(20)) {
        together = false;
        sessions.push_back(w.one_in(2) || sessions.empty() ? nullptr : sessions.front());
        const TokenBuffer& its = texts.empty() ? w.branches.front().tokens : texts.front();
        spans.emplace_back(its);
    }
    std::span<const float> logits;
    const Outcome outcome = w.attempt([&] { logits = S::evaluate_each(sessions, spans); });
    if (outcome == Outcome::no_room) REQUIRE_FALSE((window && pages));
    if (outcome == Outcome::refused) REQUIRE_FALSE(together);
    REQUIRE(outcome != Outcome::interrupted);
    if (outcome != Outcome::done) {
        for (Branch<S>* branch : some) w.check_state(*branch);
        return;
    }
    REQUIRE((together && window && pages));
    const std::size_t vocab = w.model->config.vocab;
    REQUIRE(logits.size() == some.size() * vocab);
    for (std::size_t i = 0; i < some.size(); ++i) {
        w.grow(*some[i], texts[i]);
        w.check_logits(*some[i], logits.subspan(i * vocab, vocab));
    }
}

}  // namespace test_model_kv_operations

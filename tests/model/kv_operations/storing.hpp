/// \file Operations that save, load, keep and find.
#pragma once

#include "model/kv_operations/world.hpp"

#include "flashback/model/prefix_cached.hpp"
#include "flashback/model/session_state.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_kv_operations {

template <class S>
void save(World<S>& w) {
    const Branch<S>& branch = w.any();
    SavedState saved{{}, branch.tokens, branch.voice};
    const Outcome outcome = w.attempt([&] { saved.bytes = save_session(*branch.session); });
    REQUIRE((outcome == Outcome::done || outcome == Outcome::no_memory));
    if (outcome != Outcome::done) return;
    if (w.one_in(4)) REQUIRE(state_of(*branch.session) == w.plain.state(branch.voice, branch.tokens));
    if (w.saved.size() < 4)
        w.saved.push_back(std::move(saved));
    else
        w.saved[w.random.below(w.saved.size())] = std::move(saved);
}

/// Restores a state or a prefix of one, of whoever saved it.
template <class S>
void load(World<S>& w) {
    if (w.saved.empty()) return;
    Branch<S>& branch = w.any();
    const SavedState& saved = w.saved[w.random.below(w.saved.size())];
    const std::size_t length = w.one_in(2) ? saved.tokens.size() : w.random.below(saved.tokens.size() + 1);
    const bool fits = !w.paged || w.pages_of(length) <= w.free_pages();
    std::size_t restored = 0;
    const Outcome outcome = w.attempt([&] { restored = restore_session(*branch.session, saved.bytes, {.positions = length}); });
    if (branch.voice != saved.voice)
        REQUIRE((outcome == Outcome::refused || outcome == Outcome::no_memory));
    else if (outcome != Outcome::no_memory)
        REQUIRE(outcome == (fits ? Outcome::done : Outcome::no_room));
    if (outcome != Outcome::done) return w.check_state(branch);
    REQUIRE(restored == length);
    w.hold_instead(branch, TokenSpan{saved.tokens}.first(length));
}

/// A state with a changed byte, cut short or with more behind it.
template <class S>
void load_damaged(World<S>& w) {
    if (w.saved.empty()) return;
    Branch<S>& branch = w.any();
    std::vector<std::byte> bytes = w.saved[w.random.below(w.saved.size())].bytes;
    const std::size_t place = w.random.below(bytes.size());
    const std::size_t how = w.random.below(3);
    if (how == 0)
        bytes[place] ^= static_cast<std::byte>(1u << w.random.below(8));
    else if (how == 1)
        bytes.resize(place);
    else
        bytes.push_back(std::byte{0});
    const Outcome outcome = w.attempt([&] { restore_session(*branch.session, bytes); });
    REQUIRE(outcome != Outcome::done);
    w.check_state(branch);
}

/// Looks for a text in the store: one that goes on, or the beginning of another branch's.
inline void look_up(World<PagedSession>& w) {
    auto& branch = w.any();
    const auto& other = w.any();
    TokenBuffer wanted = branch.tokens;
    if (other.voice == branch.voice && w.one_in(2)) {
        branch.session->truncate(0);
        w.hold_instead(branch, {});
        wanted.assign(other.tokens.begin(),
                      other.tokens.begin() + static_cast<std::ptrdiff_t>(w.random.below(other.tokens.size() + 1)));
    }
    const std::size_t held = branch.tokens.size();
    append(wanted, w.after(wanted, w.some(branch)));
    const TokenSpan more = TokenSpan{wanted}.subspan(held);
    const std::size_t most = std::min(wanted.size() - 1, w.limits.window);
    const std::size_t marked = w.plain.marked(branch.voice, TokenSpan{wanted}.first(most));
    const PrefixStoreCounts before = w.store->counts();
    const std::size_t work = branch.session->work();
    PrefixCached cached{*branch.session, *w.store};
    std::span<const float> logits;
    const Outcome outcome = w.attempt([&] { logits = cached.evaluate(more); });
    const PrefixStoreCounts after = w.store->counts();
    const std::size_t found = after.hits - before.hits;
    REQUIRE(found <= marked);
    REQUIRE((after.asked == before.asked || (after.asked == before.asked + most && more.size() > 1)));
    w.asked = after.asked;
    if (outcome != Outcome::done) {
        REQUIRE((outcome == Outcome::no_memory || outcome == Outcome::no_room));
        if (outcome == Outcome::no_room)
            REQUIRE((wanted.size() > w.limits.window || w.pages_of(wanted.size()) > w.free_pages()));
        return w.check_state(branch);
    }
    // What was found and what was evaluated are what was asked for.
    if (more.size() > 1) REQUIRE(after.asked == before.asked + most);
    if (more.size() > 1 && after.evictions == 0 && w.all_kept) REQUIRE(found == marked);
    REQUIRE(branch.session->work() - work == wanted.size() - std::max(held, found));
    branch.work = branch.session->work();
    w.hold(branch, more);
    w.check_logits(branch, logits);
}

/// Keeps what a branch holds in the store; others have to go.
inline void keep(World<PagedSession>& w) {
    auto& branch = w.any();
    const std::size_t length = w.one_in(2) ? branch.tokens.size() : w.random.below(branch.tokens.size() + 1);
    PrefixCached cached{*branch.session, *w.store};
    w.plain.mark(branch.voice, branch.tokens);  // a beginning of it may be kept even if there is no memory for all
    const Outcome outcome = w.attempt([&] { length < branch.tokens.size() ? cached.truncate(length) : cached.keep(); });
    REQUIRE((outcome == Outcome::done || outcome == Outcome::no_memory));
    w.all_kept = w.all_kept && outcome == Outcome::done && w.pinned.empty();
    if (outcome != Outcome::done) return w.check_state(branch);
    const PagedKVCache found = w.store->find(cached.fingerprint(), branch.tokens, w.limits.window);
    w.asked += branch.tokens.size();
    if (w.pinned.empty()) REQUIRE(found.size() == branch.tokens.size());  // else there may be no room for all of it
    if (length < branch.tokens.size())
        w.hold_instead(branch, TokenBuffer{branch.tokens.begin(), branch.tokens.begin() + static_cast<std::ptrdiff_t>(length)});
}

/// Keeps what the store has of a branch, which no other text drives out then.
inline void pin(World<PagedSession>& w) {
    const auto& branch = w.any();
    std::size_t held = 0;
    const Outcome outcome = w.attempt([&] { held = w.store->pin(branch.session->fingerprint(), branch.tokens); });
    REQUIRE((outcome == Outcome::done || outcome == Outcome::no_memory));
    REQUIRE(held <= w.plain.marked(branch.voice, branch.tokens));
    if (held > 0) w.pinned.push_back({branch.session->fingerprint(), branch.tokens, held});
}

inline void unpin(World<PagedSession>& w) {
    if (w.pinned.empty()) return;
    const Pinned one = w.pinned.front();  // of a text that was pinned several times, the first
    w.pinned.erase(w.pinned.begin());
    REQUIRE(w.store->find(one.fingerprint, one.tokens, w.limits.window).size() >= one.held);
    w.asked += one.tokens.size();
    REQUIRE(w.store->unpin(one.fingerprint, one.tokens) == one.held);
}

}  // namespace test_model_kv_operations

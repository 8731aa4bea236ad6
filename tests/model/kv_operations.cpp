// Random operations on sessions, next to a plain model that holds vectors of tokens and computes everything from scratch: the twelve
// properties of a KV cache that tests/hostile_cases.md speaks of, for each cache, element and kind of positions.
//
// A failure prints a seed and the number of the operation: FLASHBACK_SEED=<seed> does the same again, in the same build.
// FLASHBACK_OPERATIONS=<number> does so many for each kind of cache.
#include "model/kv_operations.hpp"

#include "flashback/model/prefix_cached.hpp"
#include "flashback/model/session_state.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_kv_operations {

namespace {

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

/// Looks for a text in the store: one that goes on, or the beginning of another branch's.
void look_up(World<PagedSession>& w) {
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
    if (more.size() > 1 && after.evictions == 0) REQUIRE(found == marked);
    REQUIRE(branch.session->work() - work == wanted.size() - std::max(held, found));
    branch.work = branch.session->work();
    w.hold(branch, more);
    w.check_logits(branch, logits);
}

/// Keeps what a branch holds in the store; others have to go.
void keep(World<PagedSession>& w) {
    auto& branch = w.any();
    const std::size_t length = w.one_in(2) ? branch.tokens.size() : w.random.below(branch.tokens.size() + 1);
    PrefixCached cached{*branch.session, *w.store};
    w.plain.mark(branch.voice, branch.tokens);  // a beginning of it may be kept even if there is no memory for all
    const Outcome outcome = w.attempt([&] { length < branch.tokens.size() ? cached.truncate(length) : cached.keep(); });
    REQUIRE((outcome == Outcome::done || outcome == Outcome::no_memory));
    if (outcome != Outcome::done) return w.check_state(branch);
    const PagedKVCache found = w.store->find(cached.fingerprint(), branch.tokens, w.limits.window);
    w.asked += branch.tokens.size();
    REQUIRE(found.size() == branch.tokens.size());
    if (length < branch.tokens.size())
        w.hold_instead(branch, TokenBuffer{branch.tokens.begin(), branch.tokens.begin() + static_cast<std::ptrdiff_t>(length)});
}

template <class S>
struct Operation {
    std::string name;
    void (*run)(World<S>&);
    std::size_t weight;
};

template <class S>
std::vector<Operation<S>> operations() {
    std::vector<Operation<S>> all{{"append", append_some<S>, 24},
                                  {"append nonsense", append_nonsense<S>, 2},
                                  {"rewind", rewind<S>, 14},
                                  {"fork", fork<S>, 10},
                                  {"drop", drop<S>, 4},
                                  {"move", move<S>, 2},
                                  {"save", save<S>, 6},
                                  {"load", load<S>, 8},
                                  {"load what is damaged", load_damaged<S>, 3},
                                  {"switch adapter", switch_voice<S>, 3},
                                  {"evaluate_each", append_each<S>, 14}};
    if constexpr (std::same_as<S, PagedSession>) {
        all.push_back({"look up", look_up, 8});
        all.push_back({"keep", keep, 6});
    }
    return all;
}

std::size_t from_environment(const char* name, std::size_t otherwise) {
    const char* const text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Kind {
    Family family;
    DType element;
};
constexpr std::array kinds{Kind{Family::llama, DType::f32}, Kind{Family::llama, DType::f16}, Kind{Family::llama, DType::bf16},
                           Kind{Family::llama, DType::i8},  Kind{Family::opt, DType::f32},   Kind{Family::opt, DType::f16},
                           Kind{Family::opt, DType::bf16},  Kind{Family::opt, DType::i8}};

template <class S>
void run(const Kind& kind, std::size_t number) {
    const RandomModel shape{.layers = 2,
                            .width = 16,
                            .heads = 4,
                            .kv_heads = kind.family == Family::opt ? 4u : 2u,
                            .head_dim = 4,
                            .hidden = 16,
                            .vocab = 40,
                            .window = 150,
                            .family = kind.family};
    const ModelPtr model = random_model(shape);
    const auto adapter = [&](std::uint64_t seed) {
        return std::make_shared<const PackedAdapter>(random_adapter(model->config, {.rank = 2, .seed = seed}), model->config);
    };
    const auto first = adapter(1);
    const std::uint64_t seed = from_environment("FLASHBACK_SEED", 1);
    const std::size_t count = from_environment("FLASHBACK_OPERATIONS", sanitized ? 300 : 6400);
    CAPTURE(seed);
    CAPTURE(number);
    CAPTURE(layout_of(kind.element).name);
    World<S> w{model, kind.element, {{}, {first, 1}, {first, 0.5f}, {adapter(2), 1}}, random_key(seed, number)};
    const std::vector<Operation<S>> all = operations<S>();
    std::size_t weights = 0;
    for (const Operation<S>& one : all) weights += one.weight;
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t left = w.random.below(weights);
        std::size_t chosen = 0;
        for (; left >= all[chosen].weight; ++chosen) left -= all[chosen].weight;
        CAPTURE(i);
        CAPTURE(all[chosen].name);
        all[chosen].run(w);
        w.check_invariants();
    }
    // All of it happened.
    for (const std::size_t outcome : w.counts) REQUIRE(outcome > count / 1000);
    REQUIRE(w.cancelled > count / 200);
    if constexpr (World<S>::paged) {
        const PrefixStoreCounts kept = w.store->counts();
        REQUIRE(kept.evictions > count / 100);
        REQUIRE(kept.hits > kept.asked / 4);
        w.branches.clear();
        w.store.reset();
        REQUIRE(w.pool->used_bytes() == 0);
    }
}

}  // namespace

TEST_CASE("random operations on contiguous sessions do what a plain model says that computes everything from scratch") {
    for (std::size_t i = 0; i < kinds.size(); ++i) run<Session>(kinds[i], i);
}

TEST_CASE("random operations on paged sessions do what a plain model says that computes everything from scratch") {
    for (std::size_t i = 0; i < kinds.size(); ++i) run<PagedSession>(kinds[i], kinds.size() + i);
}

}  // namespace test_model_kv_operations

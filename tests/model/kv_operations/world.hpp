/// \file Sessions and what a plain model says of them: what the operations of ../kv_operations.cpp change.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/kv/kv_page_pool.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/kv/prefix_store.hpp"
#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/faults.hpp"
#include "support/recomputed.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_kv_operations {

using namespace flashback;
using namespace flashback_test;

/// Requests a stop, or throws, in the middle of a forward pass: at its call number `at` from now on.
struct Interrupting {
    struct Thrown {};

    std::stop_source source = {};
    std::size_t at = 0;
    bool throws = false;

    static std::size_t concurrency() { return 2; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (at > 0 && --at == 0) {
            if (throws) throw Thrown{};
            source.request_stop();
        }
        SerialExecutor::run(count, task);
    }
};

/// A session, and what the plain model knows of it.
template <class S>
struct Branch {
    std::unique_ptr<S> session;
    std::size_t voice = 0;
    TokenBuffer tokens = {};
    std::size_t work = 0;
    std::optional<std::uint64_t> state = {};  // of what it holds, if it was looked at since that changed
};

/// What a session saved.
struct SavedState {
    std::vector<std::byte> bytes;
    TokenBuffer tokens;
    std::size_t voice;
};

/// What the store keeps whatever comes.
struct Pinned {
    std::uint64_t fingerprint;
    TokenBuffer tokens;
    std::size_t held;
};

/// How an operation ended.
enum class Outcome : std::uint8_t { done, no_memory, no_room, refused, interrupted };
inline constexpr std::size_t outcomes = 5;

/// How many positions, pages and branches there are: few, so that everything runs out of everything.
struct Limits {
    std::size_t window = 150;
    std::size_t branches = 6;
    std::size_t pages = 10;
    std::size_t kept_pages = 4;
};

template <class S>
struct World {
    static constexpr bool paged = std::same_as<S, PagedSession>;

    World(ModelPtr its, DType its_element, std::vector<Voice> voices, std::uint64_t seed)
        : model(std::move(its)), element(its_element), random(seed), plain(model, element, std::move(voices)) {
        if constexpr (paged) {
            const KVShape shape = S::cache_shape(model, {.cache = element});
            const std::size_t page = KVPagePool{shape}.page_bytes();
            pool = std::make_shared<KVPagePool>(shape, KVPagePoolOptions{.budget = limits.pages * page + page / 2});
            store = std::make_unique<PrefixStore>(pool, limits.kept_pages * page);
        }
        branches.push_back({make_session(0)});
    }

    std::unique_ptr<S> make_session(std::size_t voice) {
        SessionOptions options = plain.options(voice);
        options.window = limits.window;
        options.piece = 1 + random.below(40);
        options.executor = executor;
        if constexpr (paged) {
            return std::make_unique<S>(model, options, nullptr, [this](const KVShape& shape) {
                return PagedKVCache{shape, pool};
            });
        } else {
            return std::make_unique<S>(model, options);
        }
    }

    Branch<S>& any() { return branches[random.below(branches.size())]; }
    bool one_in(std::size_t n) { return random.below(n) == 0; }

    /// Tokens that may follow others. Most often they are the usual ones, so that texts recur and the plain model remembers them.
    TokenBuffer after(TokenSpan tokens, std::size_t count) {
        TokenBuffer all{tokens.begin(), tokens.end()};
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t last = all.empty() ? 0 : static_cast<std::size_t>(all.back());
            const std::size_t usual = (all.size() * 7 + last * 5 + 3) % model->config.vocab;
            all.push_back(static_cast<TokenId>(one_in(50) ? random.below(model->config.vocab) : usual));
        }
        return {all.begin() + static_cast<std::ptrdiff_t>(tokens.size()), all.end()};
    }

    /// How many tokens come next: one, or several; now and then more than fit into the window.
    std::size_t some(const Branch<S>& branch) {
        const std::size_t count = one_in(2) ? 1 : 1 + random.below(80);
        const std::size_t room = limits.window - branch.tokens.size();
        return room == 0 || one_in(10) ? count : std::min(count, room);
    }

    /// Does it, while an allocation fails now and then.
    template <class Work>
    Outcome attempt(Work&& work) {
        const bool fails = one_in(6);
        if (fails) arm(Fault::allocation, 1 + random.below(5));
        Outcome outcome = Outcome::done;
        try {
            work();
        } catch (const std::bad_alloc&) {
            outcome = Outcome::no_memory;
        } catch (const Error& error) {
            outcome = error.code() == ErrorCode::window ? Outcome::no_room : Outcome::refused;
        } catch (const Interrupting::Thrown&) {
            outcome = Outcome::interrupted;
        }
        const bool failed = fails && disarm();
        REQUIRE(failed == (outcome == Outcome::no_memory));
        ++counts[static_cast<std::size_t>(outcome)];
        return outcome;
    }

    /// Pages that are neither held nor kept.
    std::size_t free_pages() const {
        if constexpr (paged) {
            return limits.pages - pool->used_bytes() / pool->page_bytes();
        } else {
            return limits.pages;
        }
    }
    static std::size_t pages_of(std::size_t positions) { return (positions + tile_positions - 1) / tile_positions; }

    /// How many pages it takes to append so many tokens to each of some branches: new ones, and copies of those that others hold, too.
    std::size_t needed([[maybe_unused]] std::span<Branch<S>* const> some,
                       [[maybe_unused]] std::span<const std::size_t> tokens) const {
        std::size_t pages = 0;
        if constexpr (paged) {
            std::map<const KVPage*, std::size_t> users;
            for (std::size_t i = 0; i < some.size(); ++i) {
                const std::size_t size = some[i]->tokens.size();
                pages += pages_of(size + tokens[i]) - pages_of(size);
                if (size % tile_positions == 0) continue;
                const KVPage& last = some[i]->session->cache().page(size / tile_positions);
                std::size_t& its = users.try_emplace(&last, last.users.load()).first->second;
                if (its <= 1) continue;
                ++pages;
                --its;
            }
        }
        return pages;
    }
    bool fits(Branch<S>& branch, std::size_t tokens) const {
        Branch<S>* const one = &branch;
        return branch.tokens.size() + tokens <= limits.window && needed({&one, 1}, {&tokens, 1}) <= free_pages();
    }

    /// A branch evaluated tokens.
    void grow(Branch<S>& branch, TokenSpan tokens) {
        branch.work += tokens.size();
        hold(branch, tokens);
    }
    void hold(Branch<S>& branch, TokenSpan more) {
        if (more.empty()) return;
        append(branch.tokens, more);
        branch.state.reset();
    }
    void hold_instead(Branch<S>& branch, TokenSpan tokens) {
        branch.tokens.assign(tokens.begin(), tokens.end());
        branch.state.reset();
    }
    void check_logits(const Branch<S>& branch, std::span<const float> logits) {
        require_exact(logits, plain.logits(branch.voice, branch.tokens), branch.tokens.size());
    }

    /// The keys and values that a branch holds are those that it held, to the byte, while its tokens were the same.
    void check_state(Branch<S>& branch) {
        const std::uint64_t now = state_of(*branch.session);
        if (branch.state) REQUIRE(now == *branch.state);
        branch.state = now;
    }

    void check_invariants() {
        for (const Branch<S>& branch : branches) {
            const S& session = *branch.session;
            REQUIRE(session.size() == branch.tokens.size());
            REQUIRE(std::ranges::equal(session.tokens(), branch.tokens));
            REQUIRE(session.cache().size() == branch.tokens.size());
            REQUIRE(session.work() == branch.work);
            REQUIRE(session.size() <= session.window());
        }
        check_state(any());
        if constexpr (paged) check_pages();
    }

    /// The pool counts each page that a branch or the store holds once, and nobody holds more than he needs.
    void check_pages() const {
        std::map<const KVPage*, std::size_t> users;
        for (const Branch<S>& branch : branches) {
            const PagedKVCache& cache = branch.session->cache();
            REQUIRE(cache.bytes() == pages_of(cache.size()) * pool->page_bytes());
            for (std::size_t i = 0; i < pages_of(cache.size()); ++i) ++users[&cache.page(i)];
        }
        std::size_t shared_with_store = 0;
        for (const auto& [page, count] : users) {
            const std::size_t others = page->users.load() - count;
            REQUIRE(others <= 1);  // the store
            shared_with_store += others;
        }
        const PrefixStoreCounts kept = store->counts();
        REQUIRE(kept.bytes == kept.pages * pool->page_bytes());
        REQUIRE(kept.pages <= limits.kept_pages);
        REQUIRE(kept.hits <= kept.asked);
        REQUIRE(kept.asked == asked);
        REQUIRE(shared_with_store <= kept.pages);
        REQUIRE(pool->used_bytes() == (users.size() + kept.pages - shared_with_store) * pool->page_bytes());
        REQUIRE(pool->used_bytes() <= pool->bytes());
        REQUIRE(pool->bytes() <= limits.pages * pool->page_bytes());
    }

    Limits limits = {};
    ModelPtr model;
    DType element;
    SplitMix64 random;
    Recomputed plain;
    Interrupting executor = {};
    std::shared_ptr<KVPagePool> pool = {};
    std::unique_ptr<PrefixStore> store = {};
    std::size_t asked = 0;  // tokens that were looked for in the store
    std::vector<Branch<S>> branches = {};
    std::vector<SavedState> saved = {};
    std::vector<Pinned> pinned = {};
    bool all_kept = true;  // nothing of what the store was given is missing for want of memory or room
    std::size_t counts[outcomes] = {};
    std::size_t cancelled = 0;
};

}  // namespace test_model_kv_operations

// Sessions of pages, while memory fails: what they held is what they hold, and the pages that they did not need are given back.
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/prefix_store.hpp"
#include "flashback/model/prefix_cached.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_state.hpp"
#include "support/exact_logits.hpp"
#include "support/faults.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_faults_sessions {

using namespace flashback;
using namespace flashback_test;

namespace {

const ModelPtr& tiny_model() {
    static const ModelPtr model = random_model(
        {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20, .window = 300});
    return model;
}

const TokenBuffer& text() {
    static const TokenBuffer tokens = [] {
        SplitMix64 random{1};
        return random_tokens(random, 250, 20);
    }();
    return tokens;
}
TokenSpan part(std::size_t from, std::size_t to) { return TokenSpan{text()}.subspan(from, to - from); }

/// Two branches of 70 positions, which share both pages. The second one has no scratch yet.
struct System {
    System()
        : pool(std::make_shared<KVPagePool>(PagedSession::cache_shape(tiny_model()))),
          first(tiny_model(), {.piece = 30, .block_gap = 0}, std::make_shared<PagedSession::Store>(),
                [this](const KVShape& shape) {
                    return PagedKVCache{shape, pool};
                }) {
        first.evaluate(part(0, 70));
        second = std::make_unique<PagedSession>(first.fork());
    }

    std::size_t pages() const { return pool->used_bytes() / pool->page_bytes(); }
    std::array<PagedSession*, 2> both() { return {&first, second.get()}; }

    /// Both hold what they held, in `most` pages at most, none of them reserved for later; and both go on. A third page may be a copy that
    /// was made before it was written to.
    void check(std::size_t most) {
        CHECK(pages() <= most);
        for (PagedSession* session : both()) {
            REQUIRE(std::ranges::equal(session->tokens(), part(0, 70)));
            CHECK(session->cache().bytes() == 2 * pool->page_bytes());
            CHECK(session->blocks().empty());
        }
        require_exact(first.evaluate(part(70, 150)), tiny_model(), part(0, 150));
        require_exact(second->evaluate(part(100, 130)), tiny_model(), other_text());
        CHECK(pages() == 4);  // the first one is shared
    }
    static TokenBuffer other_text() {
        TokenBuffer tokens{text().begin(), text().begin() + 70};
        append(tokens, part(100, 130));
        return tokens;
    }

    std::shared_ptr<KVPagePool> pool;
    PagedSession first;
    std::unique_ptr<PagedSession> second;
};

using SystemPtr = std::unique_ptr<System>;

/// Lets each allocation of `work(system)` fail.
template <class Work>
void fails_well(std::size_t most, const Work& work) {
    with_each_fault(
        Fault::allocation, [] { return std::make_unique<System>(); }, [&](SystemPtr& system) { work(*system); },
        [&](SystemPtr& system) { system->check(most); });
}

}  // namespace

TEST_CASE("faults: a branch that finds no memory for its scratch, its pages or its logits holds what it held") {
    fails_well(2, [](System& system) { system.second->evaluate(part(70, 250)); });
    fails_well(3, [](System& system) { system.second->evaluate_all(part(70, 250)); });
    fails_well(2, [](System& system) { static_cast<void>(system.first.fork()); });
}

TEST_CASE("faults: of several sessions in one pass none goes on if memory fails, not even after the last forward pass") {
    const std::array texts{part(70, 200), part(80, 90)};
    fails_well(3, [&](System& system) { PagedSession::evaluate_each(system.both(), texts); });
}

TEST_CASE("faults: a block beside the text, and a session that sees it, need memory and change nothing without") {
    const auto blocks = [](System& system) {
        return std::vector{system.first.block(part(90, 100), 1, 1), system.first.block(part(100, 190), 1, 11)};
    };
    fails_well(2, [&](System& system) { static_cast<void>(blocks(system)); });
    fails_well(2, [&](System& system) { system.first.see(blocks(system)); });
    // A session that sees passages takes others, and copies what saw them behind its text.
    struct Seeing {
        System system;
        std::vector<std::shared_ptr<const PagedSession::Block>> its = {};
    };
    with_each_fault(
        Fault::allocation,
        [&] {
            auto state = std::make_unique<Seeing>();
            state->its = blocks(state->system);
            state->system.first.see(state->its);
            state->system.first.evaluate(part(70, 170));
            return state;
        },
        [](auto& state) { state->system.first.see({state->its.back()}); },
        [](auto& state) {
            System& system = state->system;
            REQUIRE(std::ranges::equal(system.first.tokens(), part(0, 170)));
            CHECK(system.first.blocks().size() == 2);
            CHECK(system.pages() <= 5);
            PagedSession whole{tiny_model(), {.block_gap = 0}};
            whole.evaluate(part(0, 70));
            whole.see(state->its);
            whole.evaluate(part(70, 170));
            require_exact(system.first.evaluate(part(170, 180)), whole.evaluate(part(170, 180)), 180);
            system.first.truncate(70);
            system.check(3);
        });
}

TEST_CASE("faults: a state is saved or restored, or the session holds what it held") {
    Session other{tiny_model()};
    other.evaluate(part(50, 240));
    const std::vector<std::byte> bytes = save_session(other);
    fails_well(2, [&](System& system) {
        if (restore_session(system.first, bytes) != 190) FAIL_CHECK("restored wrongly");
    });
    fails_well(2, [&](System& system) {
        if (save_session(*system.second).empty()) FAIL_CHECK("saved wrongly");
    });
    fails_well(2, [](System& system) { system.first.adopt(system.second->cache().fork(), system.second->tokens()); });
}

TEST_CASE("faults: a store of prefixes and the sessions over it lose nothing, and count what they have") {
    struct Stored : System {
        Stored() : store(pool, 6 * pool->page_bytes()) {
            first.evaluate(part(70, 200));
            PrefixCached{first, store}.truncate(70);
        }
        void check_store(TokenSpan of_second) {
            REQUIRE(std::ranges::equal(first.tokens(), part(0, 70)));
            REQUIRE(std::ranges::equal(second->tokens(), of_second));
            for (PagedSession* session : both()) session->truncate(0);
            const PrefixStoreCounts counts = store.counts();
            CHECK(counts.bytes == counts.pages * pool->page_bytes());
            CHECK(pages() == counts.pages);
            PrefixCached cached{first, store};
            const std::size_t work = first.work();
            require_exact(cached.evaluate(part(0, 201)), tiny_model(), part(0, 201));
            CHECK(first.work() == work + 1);
        }
        PrefixStore store;
    };
    const auto each = [](const auto& work) {
        with_each_fault(
            Fault::allocation, [] { return std::make_unique<Stored>(); }, [&](auto& state) { work(*state); },
            [](auto& state) { state->check_store(part(0, 70)); });
    };
    // What was found is forgotten if there is no memory for the rest.
    each([](Stored& state) { PrefixCached{*state.second, state.store}.evaluate(part(70, 250)); });
    with_each_fault(
        Fault::allocation,
        [] {
            auto state = std::make_unique<Stored>();
            state->second->truncate(0);
            state->second->evaluate(part(150, 250));
            return state;
        },
        [](auto& state) {
            PrefixCached{*state->second, state->store}.keep();
        },
        [](auto& state) { state->check_store(part(150, 250)); });
    each([](Stored& state) {
        if (state.store.pin(state.first.fingerprint(), text()) != 200) FAIL_CHECK("pinned wrongly");
    });
}

}  // namespace test_faults_sessions

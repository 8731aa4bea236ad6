// A store of prefixes: what texts share is kept once, found to the token, and gives the bits of an evaluation from scratch.
#include "flashback/model/prefix_cached.hpp"

#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/presets.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_prefix_cached {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 2, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = 400};

struct System {
    explicit System(std::size_t pages_kept = 1000)
        : model(random_model(shape)),
          pool(std::make_shared<KVPagePool>(PagedSession::cache_shape(model))),
          store(pool, pages_kept * pool->page_bytes()) {}

    PagedSession session() const {
        return PagedSession{model, {}, nullptr, [this](const KVShape& its) { return PagedKVCache{its, pool}; }};
    }
    /// Keeps a text that a session of its own evaluated.
    void keep(TokenSpan tokens) {
        PagedSession its = session();
        its.evaluate(tokens);
        PrefixCached{its, store}.keep();
    }
    std::size_t found(TokenSpan tokens) { return store.find(session().fingerprint(), tokens, 400).size(); }

    ModelPtr model;
    std::shared_ptr<KVPagePool> pool;
    PrefixStore store;
};

/// The first `common` tokens of a text, and then others.
std::vector<TokenId> continued(TokenSpan text, std::size_t common, std::size_t length, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<TokenId> other(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(common));
    append(other, random_tokens(random, length - common, shape.vocab));
    if (common < length && common < text.size()) other[common] = (text[common] + 1) % static_cast<TokenId>(shape.vocab);
    return other;
}

}  // namespace

TEST_CASE("a text finds the longest beginning that any kept text has in common with it, to the token") {
    System system;
    SplitMix64 random{1};
    const std::vector<TokenId> text = random_tokens(random, 200, shape.vocab);
    CHECK(system.found(text) == 0);
    system.keep(text);
    CHECK(system.store.counts().pages == 4);
    for (const std::size_t common : {0u, 1u, 63u, 64u, 65u, 100u, 128u, 191u, 192u, 199u, 200u})
        CHECK(system.found(continued(text, common, 250, common)) == common);
    // A branch of it shares two pages and has two of its own.
    const std::vector<TokenId> branch = continued(text, 140, 230, 7);
    system.keep(branch);
    CHECK(system.store.counts().pages == 6);
    CHECK(system.store.counts().bytes == 6 * system.pool->page_bytes());
    CHECK(system.pool->used_bytes() == 6 * system.pool->page_bytes());
    CHECK(system.found(continued(branch, 150, 230, 8)) == 150);
    CHECK(system.found(text) == 200);
    // A text that goes on takes the place of its last page.
    const std::vector<TokenId> longer = continued(branch, 230, 250, 9);
    system.keep(longer);
    CHECK(system.store.counts().pages == 6);
    CHECK(system.found(longer) == 250);
    system.keep(TokenSpan{text}.first(70));  // is kept already
    CHECK(system.store.counts().pages == 6);
    // Another fingerprint finds nothing.
    CHECK(system.store.find(1, text, 400).size() == 0);
    CHECK(system.store.find(system.session().fingerprint(), text, 90).size() == 90);
    const PrefixStoreCounts counts = system.store.counts();
    CHECK(counts.hits <= counts.asked);
    CHECK(counts.evictions == 0);
}

TEST_CASE("what is found gives the bits of an evaluation from scratch, whoever goes on writing") {
    System system;
    SplitMix64 random{2};
    std::vector<std::vector<TokenId>> texts;
    for (int round = 0; round < 40; ++round) {
        const std::size_t length = 1 + random.below(300);
        std::vector<TokenId> text = random_tokens(random, length, shape.vocab);
        if (!texts.empty() && random.below(4) > 0) {
            const std::vector<TokenId>& known = texts[random.below(texts.size())];
            text = continued(known, random.below(std::min(known.size(), length) + 1), length, random.next());
        }
        PagedSession session = system.session();
        PrefixCached model{session, system.store};
        const std::size_t cut = random.below(length);
        if (cut > 0) model.evaluate(TokenSpan{text}.first(cut));
        require_exact(model.evaluate(TokenSpan{text}.subspan(cut)), system.model, text);
        REQUIRE(std::ranges::equal(model.tokens(), text));
        model.truncate(random.below(length + 1));
        texts.push_back(std::move(text));
    }
    CHECK(system.store.counts().hits > 1000);
}

TEST_CASE("the text that was asked for longest ago goes first, page by page, and pinned ones stay") {
    System system{5};
    SplitMix64 random{3};
    std::vector<std::vector<TokenId>> texts;
    for (int i = 0; i < 4; ++i) texts.push_back(random_tokens(random, 128, shape.vocab));
    system.keep(texts[0]);
    system.keep(texts[1]);
    CHECK(system.found(texts[0]) == 128);  // now the newest
    system.keep(texts[2]);                 // needs two pages of which one is free
    CHECK(system.store.counts().pages == 5);
    CHECK(system.store.counts().evictions == 1);
    CHECK(system.found(texts[0]) == 128);
    CHECK(system.found(texts[1]) == 64);
    CHECK(system.found(texts[2]) == 128);

    const std::uint64_t fingerprint = system.session().fingerprint();
    CHECK(system.store.pin(fingerprint, texts[2]) == 128);
    CHECK(system.store.pin(fingerprint, texts[3]) == 0);
    for (int i = 0; i < 20; ++i) {
        system.keep(random_tokens(random, 1 + random.below(200), shape.vocab));
        REQUIRE(system.store.counts().bytes <= 5 * system.pool->page_bytes());
        REQUIRE(system.pool->used_bytes() == system.store.counts().bytes);
    }
    CHECK(system.found(texts[2]) == 128);
    CHECK(system.found(texts[0]) == 0);
    CHECK(system.store.unpin(fingerprint, texts[2]) == 128);
    CHECK(system.store.unpin(fingerprint, texts[2]) == 0);
    system.keep(random_tokens(random, 320, shape.vocab));
    CHECK(system.found(texts[2]) == 0);
    system.keep(random_tokens(random, 390, shape.vocab));  // as much of it as there is room for
    CHECK(system.store.counts().pages == 5);

    System none{0};
    none.keep(texts[0]);
    CHECK(none.found(texts[0]) == 0);
}

TEST_CASE("a text is unpinned as it was pinned, whatever became of its page") {
    System system{3};
    SplitMix64 random{8};
    const std::uint64_t fingerprint = system.session().fingerprint();
    const std::vector<TokenId> text = random_tokens(random, 100, shape.vocab);
    const auto pin = [&] { return system.store.pin(fingerprint, text); };
    const auto unpin = [&] { return system.store.unpin(fingerprint, text); };
    system.keep(TokenSpan{text}.first(64));
    CHECK(pin() == 64);
    system.keep(TokenSpan{text}.first(84));
    CHECK(pin() == 84);
    system.keep(continued(text, 84, 95, 1));  // takes the place of the last page
    system.keep(text);
    CHECK(pin() == 100);
    CHECK(system.store.counts().pages == 3);
    system.keep(random_tokens(random, 64, shape.vocab));  // all that there is is pinned
    CHECK(system.found(continued(text, 84, 95, 1)) == 95);
    CHECK(system.found(text) == 100);
    CHECK(system.store.unpin(fingerprint, TokenSpan{text}.first(99)) == 0);
    CHECK(system.store.unpin(fingerprint + 1, text) == 0);
    CHECK(unpin() + unpin() + unpin() == 64 + 84 + 100);
    CHECK(unpin() == 0);
    system.keep(random_tokens(random, 192, shape.vocab));
    CHECK(system.found(text) == 0);
}

TEST_CASE(
    "a decoder over it writes the same, and a second conversation, a retry and a passage in the same place cost nothing") {
    System system;
    SplitMix64 random{4};
    RandomRetriever retriever{3, 30, shape.vocab, 1};
    const std::vector<TokenId> prompt = random_tokens(random, 120, shape.vocab);
    const GenerateOptions options{.max_tokens = 40, .ignore_eos = true};
    const auto check = [&](const auto& policies, std::size_t most) {
        Session alone{system.model};
        const Generation expected = Decoder{alone, retriever, policies}.generate(prompt, options);
        std::size_t work[2];
        for (std::size_t& evaluated : work) {
            PagedSession session = system.session();
            PrefixCached model{session, system.store};
            const Generation found = Decoder{model, retriever, policies}.generate(prompt, options);
            CHECK(found.tokens == expected.tokens);
            CHECK(found.stats.counts.evaluated == expected.stats.counts.evaluated);
            evaluated = session.work();
            model.keep();
        }
        CHECK(work[0] <= expected.stats.counts.evaluated);
        CHECK(work[1] <= most);  // those after which logits are needed
    };
    check(presets::closed_book(), 40);
    check(Policies{}.schedule(EveryNTokens{8}).layout(PrependPassages{}), 40);
    check(Policies{}.schedule(EveryNTokens{8}).layout(AppendPassages{}), 40);
}

TEST_CASE("what was found is forgotten again if the rest cannot be evaluated") {
    System system;
    SplitMix64 random{6};
    const std::vector<TokenId> text = random_tokens(random, 150, shape.vocab);
    system.keep(text);
    PagedSession session = system.session();
    PrefixCached model{session, system.store};
    model.evaluate(TokenSpan{text}.first(10));
    const auto check = [&](ErrorCode code, const char* words, const std::vector<TokenId>& all) {
        check_error(code, words, [&] { model.evaluate(TokenSpan{all}.subspan(10)); });
        REQUIRE(std::ranges::equal(model.tokens(), TokenSpan{text}.first(10)));
    };
    check(ErrorCode::window, "more do not fit", continued(text, 120, 401, 1));
    std::vector<TokenId> bad = text;
    bad.push_back(static_cast<TokenId>(shape.vocab));
    check(ErrorCode::contract, "is not in the vocabulary", bad);
    require_exact(model.evaluate(TokenSpan{text}.subspan(10)), system.model, text);
    CHECK(session.work() == 2);  // all but the last token was found, both times
}

TEST_CASE("tokens that see passages beside the text are not looked for, not even the first of them") {
    System system;
    SplitMix64 random{7};
    const std::vector<TokenId> text = random_tokens(random, 60, shape.vocab);
    const std::vector<TokenId> passage = random_tokens(random, 20, shape.vocab);
    system.keep(text);
    const auto logits = [&](PagedSession& session, auto& model) {
        session.evaluate(TokenSpan{text}.first(30));
        session.see({session.block(passage, 1, 1)});
        return copy_of(model.evaluate(TokenSpan{text}.subspan(30)));
    };
    PagedSession alone{system.model, {.block_gap = 0}};
    PagedSession session{system.model, {.block_gap = 0}, nullptr, [&](const KVShape& its) {
                             return PagedKVCache{its, system.pool};
                         }};
    PrefixCached model{session, system.store};
    const std::vector<float> expected = logits(alone, alone);
    CHECK(same_bits(logits(session, model), expected));
    CHECK_FALSE(same_bits(expected, from_scratch(system.model, text)));
    CHECK(session.blocks().size() == 1);
}

TEST_CASE("threads share a store") {
    System system{20};
    SplitMix64 random{5};
    const std::vector<TokenId> text = random_tokens(random, 150, shape.vocab);
    std::vector<std::thread> threads;
    std::vector<std::vector<float>> logits(4);
    std::vector<std::vector<TokenId>> texts;
    for (std::size_t t = 0; t < 4; ++t) texts.push_back(continued(text, 30 * t, 160, t));
    for (std::size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int round = 0; round < 5; ++round) {
                PagedSession session = system.session();
                PrefixCached model{session, system.store};
                const std::span<const float> found = model.evaluate(texts[t]);
                logits[t].assign(found.begin(), found.end());
                model.truncate(session.size() / 2);
                PrefixCached{session, system.store}.evaluate(TokenSpan{texts[t]}.first(3));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t t = 0; t < 4; ++t) require_exact(logits[t], system.model, texts[t]);
}

TEST_CASE("what does not belong together is refused in words") {
    System system;
    PagedSession session{system.model};
    check_error(ErrorCode::contract, "takes its pages from another pool than the store", [&] {
        PrefixCached{session, system.store};
    });
    const std::vector<TokenId> some{1, 2, 3};
    session.evaluate(some);
    check_error(ErrorCode::contract, "whose pages come from another pool",
                [&] { system.store.keep(1, some, session.cache()); });
    check_error(ErrorCode::contract, "needs a pool of pages, found null", [] { PrefixStore{nullptr, 1}; });
    PagedSession own = system.session();
    own.evaluate(some);
    check_error(ErrorCode::contract, "was given 4 tokens of a cache of 3 positions", [&] {
        system.store.keep(1, std::vector<TokenId>{1, 2, 3, 4}, own.cache());
    });
    check_error(ErrorCode::contract, "a cache of 3 positions for 2 tokens",
                [&] { session.adopt(own.cache().fork(), TokenSpan{some}.first(2)); });
    CHECK(session.size() == 3);
}

}  // namespace test_model_prefix_cached

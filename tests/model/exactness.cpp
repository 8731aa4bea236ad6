#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "flashback/simd/detail/matmul_tile.hpp"
#include "support/displaced_kv_cache.hpp"
#include "support/exact_logits.hpp"
#include "support/poisoned_kv_cache.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <span>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace flashback;
using namespace flashback_test;

namespace {

const std::vector<RandomModel> shapes{
    {.layers = 2},
    {.layers = 1, .width = 20, .heads = 5, .kv_heads = 1, .head_dim = 4, .hidden = 27, .vocab = 33, .tied = true},
    {.layers = 1, .width = 48, .heads = 3, .kv_heads = 3, .head_dim = 16, .hidden = 80, .vocab = 131},
    {.layers = 2, .width = 24, .heads = 2, .kv_heads = 1, .head_dim = 36, .hidden = 50, .vocab = 17, .tied = true},
    {.layers = 1, .width = 64, .heads = 1, .kv_heads = 1, .head_dim = 64, .hidden = 96, .vocab = 200},
    {.layers = 1, .width = 40, .heads = 2, .kv_heads = 1, .head_dim = 128, .hidden = 300, .vocab = 331},
};

const std::vector<std::size_t> lengths{1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 143, 144, 145};

std::vector<std::size_t> tile_borders() {
    std::vector<std::size_t> cuts;
    for (std::size_t n = 1; n <= 6; ++n) cuts.insert(cuts.end(), {64 * n - 1, 64 * n, 64 * n + 1});
    return cuts;
}

// Everything that a session can do, in random order, each result against an evaluation from scratch.
void random_walk(const ModelPtr& model, const SessionOptions& options, std::uint64_t seed, std::size_t steps) {
    SplitMix64 random{seed};
    PoisonedSession session{model, options};
    std::vector<TokenId> mirror;
    for (std::size_t step = 0; step < steps; ++step) {
        const std::size_t room = session.window() - session.size();
        const std::size_t count = std::min(room, random.below(2) == 0 ? 1 : 1 + random.below(70));
        const std::vector<TokenId> more = random_tokens(random, count, session.vocab_size());
        const std::size_t action = count == 0 ? 0 : random.below(6);
        if (action == 0) {
            mirror.resize(random.below(mirror.size() + 1));
            session.truncate(mirror.size());
        } else if (action == 1) {
            PoisonedSession branch = session.fork();
            std::vector<TokenId> longer = mirror;
            append(longer, more);
            require_exact(branch.evaluate(more), model, longer);
            if (random.below(2) == 0) {
                session = std::move(branch);
                mirror = longer;
            }
        } else if (action == 2) {
            const std::span<const float> all = session.evaluate_all(more);
            const std::size_t row = random.below(count);
            append(mirror, more);
            require_exact(all.subspan(row * session.vocab_size(), session.vocab_size()), model,
                          TokenSpan{mirror}.first(mirror.size() - count + row + 1));
        } else {
            append(mirror, more);
            require_exact(session.evaluate(more), model, mirror);
        }
        REQUIRE(std::ranges::equal(session.tokens(), mirror));
    }
}

}  // namespace

TEST_CASE("The logits of a random model depend on its earliest token") {
    for (const RandomModel& shape : shapes) {
        const ModelPtr model = random_model(shape);
        SplitMix64 random{3};
        std::vector<TokenId> tokens = random_tokens(random, 150, shape.vocab);
        const std::vector<float> before = from_scratch(model, tokens);
        tokens[0] = (tokens[0] + 1) % static_cast<TokenId>(shape.vocab);
        CHECK_FALSE(same_bits(before, from_scratch(model, tokens)));
    }
}

TEST_CASE("Any number of tokens after any others gives the logits of all at once") {
    for (const RandomModel& shape : shapes) {
        CAPTURE(shape.head_dim);
        const ModelPtr model = random_model(shape);
        SplitMix64 random{shape.head_dim};
        const std::vector<TokenId> tokens = random_tokens(random, 100 + lengths.back(), shape.vocab);
        PoisonedSession session{model};
        for (const std::size_t before : {0u, 63u, 100u}) {
            for (const std::size_t m : lengths) {
                session.truncate(0);
                if (before > 0) session.evaluate(TokenSpan{tokens}.first(before));
                require_exact(session.evaluate(TokenSpan{tokens}.subspan(before, m)), model,
                              TokenSpan{tokens}.first(before + m));
            }
        }
    }
}

TEST_CASE("Sums beyond the blocks of k, many heads that share keys, and rows of every number give the same logits") {
    constexpr std::size_t block = simd::detail::tile_shape<simd::detail::F32Format>().long_block;
    static_assert(2 * block < 530 && 4 * block < 1100);
    const RandomModel shape{
        .layers = 1, .width = 530, .heads = 21, .kv_heads = 1, .head_dim = 6, .hidden = 1100, .vocab = 333, .tied = true};
    const ModelPtr model = random_model(shape);
    SplitMix64 random{41};
    const std::vector<TokenId> tokens = random_tokens(random, 50 + lengths.back(), shape.vocab);
    std::vector<std::vector<float>> expected;  // token by token
    PoisonedSession one_by_one{model};
    for (const TokenId& token : tokens) expected.push_back(copy_of(one_by_one.evaluate({&token, 1})));
    ThreadPool pool{2};
    PoisonedSession session{model, {.executor = pool}};
    for (std::size_t m = 1; m <= 40; ++m) {
        session.truncate(0);
        require_exact(session.evaluate(TokenSpan{tokens}.first(m)), expected[m - 1], m);
    }
    for (const std::size_t m : lengths) {
        CAPTURE(m);
        session.truncate(0);
        session.evaluate(TokenSpan{tokens}.first(50));
        require_exact(session.evaluate(TokenSpan{tokens}.subspan(50, m)), expected[50 + m - 1], 50 + m);
    }
}

template <std::size_t Floats>
void displaced_tiles_change_nothing(const ModelPtr& model, TokenSpan tokens) {
    CAPTURE(Floats);
    ThreadPool pool{2};
    BasicSession<DisplacedKVCache<Floats>> session{model, {.piece = 60, .executor = pool}};
    session.evaluate(tokens.first(100));
    require_exact(session.evaluate(tokens.subspan(100, 1)), model, tokens.first(101));
    require_exact(session.evaluate(tokens.subspan(101)), model, tokens);
}

TEST_CASE("Where the tiles of the cache lie changes no bit") {
    for (const RandomModel& shape : shapes) {
        CAPTURE(shape.head_dim);
        const ModelPtr model = random_model(shape);
        SplitMix64 random{43};
        const std::vector<TokenId> tokens = random_tokens(random, 200, shape.vocab);
        displaced_tiles_change_nothing<1>(model, tokens);
        displaced_tiles_change_nothing<3>(model, tokens);
        displaced_tiles_change_nothing<8>(model, tokens);
        displaced_tiles_change_nothing<15>(model, tokens);
    }
}

TEST_CASE("Token by token gives the logits of all at once") {
    for (const RandomModel& shape : shapes) {
        CAPTURE(shape.head_dim);
        const ModelPtr model = random_model(shape);
        SplitMix64 random{7};
        const std::vector<TokenId> tokens = random_tokens(random, 150, shape.vocab);
        PoisonedSession session{model};
        for (std::size_t n = 1; n <= tokens.size(); ++n) {
            const std::span<const float> logits = session.evaluate(TokenSpan{tokens}.subspan(n - 1, 1));
            if (n <= 20 || n % 9 == 0) require_exact(logits, model, TokenSpan{tokens}.first(n));
        }
    }
}

TEST_CASE("A cut at the border of a tile changes no bit") {
    const RandomModel shape{};
    const ModelPtr model = random_model(shape);
    SplitMix64 random{11};
    const std::vector<TokenId> tokens = random_tokens(random, 6 * 64 + 5, shape.vocab);
    const std::vector<TokenId> detour = random_tokens(random, 10, shape.vocab);
    const std::vector<float> whole = from_scratch(model, tokens);
    for (const std::size_t piece : {1u, 7u, 256u}) {
        CAPTURE(piece);
        PoisonedSession session{model, {.piece = piece}};
        for (const std::size_t cut : tile_borders()) {
            CAPTURE(cut);
            const TokenSpan front = TokenSpan{tokens}.first(cut);
            session.truncate(0);
            require_exact(session.evaluate(front), model, front);
            require_exact(session.evaluate(TokenSpan{tokens}.subspan(cut)), whole, tokens.size());

            session.truncate(cut);
            std::vector<TokenId> other{front.begin(), front.end()};
            append(other, detour);
            require_exact(session.evaluate(detour), model, other);
            session.truncate(cut);
            require_exact(session.evaluate(TokenSpan{tokens}.subspan(cut)), whole, tokens.size());
        }
    }
}

TEST_CASE("The size of a piece and the number of threads change no bit") {
    const RandomModel shape = shapes.back();
    const ModelPtr model = random_model(shape);
    SplitMix64 random{13};
    const std::vector<TokenId> tokens = random_tokens(random, 2 * 64 + 3, shape.vocab);
    const std::vector<float> whole = from_scratch(model, tokens);
    for (std::size_t threads = 1; threads <= 4; ++threads) {
        ThreadPool pool{threads};
        for (const std::size_t piece : {1u, 7u, 256u}) {
            CAPTURE(threads);
            CAPTURE(piece);
            PoisonedSession session{model, {.piece = piece, .executor = pool}};
            require_exact(session.evaluate(tokens), whole, tokens.size());
        }
        random_walk(model, {.window = 200, .piece = 50, .executor = pool}, 100 + threads, 12);
    }
}

namespace {

/// Counts the rounds with so many tasks.
struct CountsRounds {
    std::size_t threads, tasks;
    std::size_t rounds = 0;

    std::size_t concurrency() const { return threads; }
    template <class Task>
    void run(std::size_t count, const Task& task) {
        rounds += count == tasks ? 1 : 0;
        for (std::size_t i = count; i-- > 0;) task(i);
    }
};

}  // namespace

TEST_CASE("Threads that share the keys of a token change no bit") {
    for (RandomModel shape : {shapes[1], shapes[3], shapes[0]}) {
        CAPTURE(shape.heads);
        shape.window = 1540;
        const ModelPtr model = random_model(shape);
        SplitMix64 random{14};
        const std::vector<TokenId> tokens = random_tokens(random, 1540, shape.vocab);
        for (const std::size_t length : {511u, 512u, 513u, 1024u, 1025u, 1536u}) {
            CAPTURE(length);
            const TokenSpan text = TokenSpan{tokens}.first(length);
            const std::vector<float> whole = from_scratch(model, text);
            for (std::size_t threads = 2; threads <= 5; threads += 3) {
                ThreadPool pool{threads};
                PoisonedPagedSession session{model, {.executor = pool}};
                session.evaluate(text.first(length - 1));
                require_exact(session.evaluate(text.last(1)), whole, length);
            }
        }
    }

    // Three parts, five threads, one head with keys: a token has two tasks, in whatever order.
    RandomModel shape = shapes[1];
    shape.window = 1100;
    const ModelPtr model = random_model(shape);
    SplitMix64 random{15};
    const std::vector<TokenId> tokens = random_tokens(random, 1100, shape.vocab);
    CountsRounds executor{5, 2};
    PoisonedSession session{model, {.executor = executor}};
    session.evaluate(TokenSpan{tokens}.first(1099));
    executor.rounds = 0;
    require_exact(session.evaluate(TokenSpan{tokens}.last(1)), model, tokens);
    CHECK(executor.rounds >= shape.layers);
}

#if defined(__x86_64__)
TEST_CASE("Threads treat subnormal numbers as their caller does") {
    struct FlushToZero {
        unsigned before = _mm_getcsr();
        FlushToZero() { _mm_setcsr(before | 0x8040); }
        ~FlushToZero() { _mm_setcsr(before); }
    };
    const RandomModel shape{.hidden = 300, .vocab = 331, .scale = 3e-21f};  // the logits are about 1e-39
    const ModelPtr model = random_model(shape);
    SplitMix64 random{37};
    const std::vector<TokenId> tokens = random_tokens(random, 40, shape.vocab);
    ThreadPool pool{3};
    Session session{model, {.executor = pool}};
    const std::vector<float> subnormal = copy_of(session.evaluate(tokens));
    require_exact(subnormal, model, tokens);

    const FlushToZero flush;
    session.truncate(0);
    require_exact(session.evaluate(tokens), model, tokens);
    CHECK_FALSE(same_bits(subnormal, from_scratch(model, tokens)));
}
#endif

TEST_CASE("Random evaluations, cuts and forks give the logits of an evaluation from scratch") {
    std::uint64_t seed = 1000;
    for (const RandomModel& shape : shapes) {
        CAPTURE(shape.head_dim);
        const ModelPtr model = random_model(shape);
        for (const std::size_t piece : {1u, 7u, 256u}) {
            CAPTURE(piece);
            random_walk(model, {.window = 333, .piece = piece}, ++seed, 25);
        }
    }
}

TEST_CASE("evaluate_all gives the row that evaluate gives for every prefix") {
    const RandomModel shape = shapes[1];
    const ModelPtr model = random_model(shape);
    SplitMix64 random{17};
    const std::vector<TokenId> tokens = random_tokens(random, 140, shape.vocab);
    PoisonedSession session{model, {.piece = 60}};
    const std::vector<float> first = copy_of(session.evaluate_all(TokenSpan{tokens}.first(9)));
    const std::vector<float> rest = copy_of(session.evaluate_all(TokenSpan{tokens}.subspan(9)));
    REQUIRE(first.size() == 9 * shape.vocab);
    REQUIRE(rest.size() == 131 * shape.vocab);
    std::vector<float> all = first;
    all.insert(all.end(), rest.begin(), rest.end());
    for (std::size_t n = 1; n <= tokens.size(); ++n) {
        require_exact(std::span{all}.subspan((n - 1) * shape.vocab, shape.vocab), model, TokenSpan{tokens}.first(n));
    }
}

TEST_CASE("Forked branches equal separate runs and leave the original as it was") {
    const RandomModel shape = shapes[0];
    const ModelPtr model = random_model(shape);
    SplitMix64 random{19};
    const std::vector<TokenId> trunk = random_tokens(random, 77, shape.vocab);
    PoisonedSession original{model};
    original.evaluate(trunk);
    PoisonedSession left = original.fork();
    PoisonedSession right = original.fork();
    std::vector<TokenId> left_tokens = trunk;
    std::vector<TokenId> right_tokens = trunk;
    for (std::size_t i = 0; i < 6; ++i) {
        const std::vector<TokenId> left_more = random_tokens(random, 1 + 5 * i, shape.vocab);
        const std::vector<TokenId> right_more = random_tokens(random, 1 + 3 * i, shape.vocab);
        append(left_tokens, left_more);
        append(right_tokens, right_more);
        require_exact(left.evaluate(left_more), model, left_tokens);
        require_exact(right.evaluate(right_more), model, right_tokens);
    }
    right.truncate(10);
    CHECK(std::ranges::equal(original.tokens(), trunk));
    std::vector<TokenId> on = trunk;
    on.push_back(5);
    require_exact(original.evaluate(TokenSpan{on}.last(1)), model, on);

    // A branch outlives what it was forked from.
    PoisonedSession grandchild = PoisonedSession{left.fork()}.fork();
    left_tokens.push_back(6);
    require_exact(grandchild.evaluate(TokenSpan{left_tokens}.last(1)), model, left_tokens);
}

TEST_CASE("An evaluate that fails changes nothing") {
    const RandomModel shape = shapes[0];
    const ModelPtr model = random_model(shape);
    SplitMix64 random{23};
    const std::vector<TokenId> tokens = random_tokens(random, 90, shape.vocab);
    PoisonedSession session{model, {.window = 100, .piece = 8}};
    session.evaluate(TokenSpan{tokens}.first(80));

    std::vector<TokenId> bad = random_tokens(random, 17, shape.vocab);
    bad.back() = static_cast<TokenId>(shape.vocab);
    const std::vector<TokenId> too_long = random_tokens(random, 21, shape.vocab);
    for (int round = 0; round < 2; ++round) {
        CHECK_THROWS_AS(session.evaluate(bad), Error);
        CHECK_THROWS_AS(session.evaluate_all(bad), Error);
        CHECK_THROWS_AS(session.evaluate(too_long), Error);
        CHECK_THROWS_AS(session.evaluate_all(too_long), Error);
        CHECK_THROWS_AS(session.truncate(session.size() + 1), Error);
        REQUIRE(std::ranges::equal(session.tokens(), TokenSpan{tokens}.first(80 + 5 * static_cast<std::size_t>(round))));
        const std::span<const float> logits = session.evaluate(TokenSpan{tokens}.subspan(session.size(), 5));
        require_exact(logits, model, TokenSpan{tokens}.first(85 + 5 * static_cast<std::size_t>(round)));
    }
}

// Blocks beside a text: the bits of evaluating everything from scratch under the same visibility, and the logits of a forward pass in
// double with that mask and those positions.
#include "flashback/core/thread_pool.hpp"
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/in_double.hpp"
#include "support/random_adapter.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_blocks {

using namespace flashback;
using namespace flashback_test;

namespace {

/// A text of which the newest tokens see blocks; the blocks see its head.
struct Wanted {
    std::size_t gap = 0;
    std::vector<TokenId> text;
    std::size_t head = 1;
    std::vector<std::vector<TokenId>> blocks;
    std::size_t first_position = 1;  // of every block
    std::vector<TokenId> tail;
};

Wanted random_wanted(SplitMix64& random, std::size_t vocab) {
    Wanted w;
    w.gap = random.below(3) == 0 ? default_block_gap : random.below(20);
    w.text = random_tokens(random, 1 + random.below(90), vocab);
    w.head = random.below(std::min<std::size_t>(w.text.size(), 3) + 1);
    w.first_position = random.below(5);
    for (std::size_t i = 0; i < 1 + random.below(3); ++i)
        w.blocks.push_back(random_tokens(random, 1 + random.below(80), vocab));
    w.tail = random_tokens(random, 1 + random.below(30), vocab);
    return w;
}

template <class S>
void see_all(S& session, const Wanted& w) {
    std::vector<std::shared_ptr<const typename S::Block>> blocks;
    for (const auto& tokens : w.blocks) blocks.push_back(session.block(tokens, w.head, w.first_position));
    session.see(std::move(blocks));
}

/// As few calls as can be, by one thread.
std::vector<float> from_scratch(const ModelPtr& model, const Wanted& w, DType cache) {
    Session session{model, {.piece = 1000, .cache = cache, .block_gap = w.gap}};
    session.evaluate(w.text);
    see_all(session, w);
    return copy_of(session.evaluate(w.tail));
}

template <class S>
std::span<const float> evaluate_in_parts(S& session, TokenSpan tokens, SplitMix64& random) {
    std::span<const float> logits;
    while (!tokens.empty()) {
        const std::size_t count = 1 + random.below(std::min<std::size_t>(tokens.size(), 20));
        logits = session.evaluate(tokens.first(count));
        tokens = tokens.subspan(count);
    }
    return logits;
}

/// Everything in one sequence for the oracle: text, tail, then the blocks.
struct Masked {
    std::vector<TokenId> tokens;
    std::vector<std::size_t> positions;
    std::vector<std::size_t> span;  // 0: text, 1: tail, 2 and more: a block
    std::size_t head = 0;
    std::size_t gap = 0;

    bool sees(std::size_t row, std::size_t other) const {
        if (span[row] == span[other]) return other <= row;
        if (span[row] == 1) return span[other] == 0 || positions[other] + gap <= positions[row];
        return span[row] >= 2 && other < head;
    }
};

Masked masked(const Wanted& w) {
    Masked all;
    all.head = w.head;
    all.gap = w.gap;
    const auto add = [&](const std::vector<TokenId>& tokens, std::size_t position, std::size_t span) {
        for (const TokenId token : tokens) {
            all.tokens.push_back(token);
            all.positions.push_back(position++);
            all.span.push_back(span);
        }
    };
    add(w.text, 0, 0);
    add(w.tail, w.text.size(), 1);
    for (std::size_t i = 0; i < w.blocks.size(); ++i) add(w.blocks[i], w.first_position, 2 + i);
    return all;
}

}  // namespace

TEST_CASE("A token sees of a block what stands far enough in front of it") {
    CHECK(positions_seen(10, 1, 0) == 10);
    CHECK(positions_seen(10, 1, 4) == 6);
    CHECK(positions_seen(10, 1, 10) == 0);
    CHECK(positions_seen(10, 12, 0) == 0);
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    CHECK(positions_seen(10, 1, most) == 0);

    // With such a gap nothing is seen, and the text is that of a session that never heard of blocks.
    const ModelPtr model = random_model({});
    const std::vector<TokenId> text{1, 2, 3, 4, 5};
    Session plain{model};
    const std::vector<float> expected = copy_of(plain.evaluate(text));
    Session session{model, {.block_gap = most}};
    session.evaluate(TokenSpan{text}.first(2));
    session.see({session.block(TokenSpan{text}.last(3), 1, 1)});
    const std::span<const float> found = session.evaluate(TokenSpan{text}.subspan(2));  // summed in another order
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));
}

TEST_CASE("tokens that see blocks have the bits of an evaluation from scratch, however they came to be held") {
    for (const FamilyModel& family : {family_models()[1], family_models()[5], family_models()[6]}) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        SplitMix64 random{71};
        for (int i = 0; i < 12; ++i) {
            const Wanted w = random_wanted(random, family.shape.vocab);
            const DType cache = std::vector{DType::f32, DType::f16, DType::bf16, DType::i8}[random.below(4)];
            const std::vector<float> expected = from_scratch(model, w, cache);
            ThreadPool pool{1 + random.below(3)};
            const SessionOptions options{.piece = 1 + random.below(40), .executor = pool, .cache = cache, .block_gap = w.gap};

            // The blocks were evaluated by another session, which held another text after the same head.
            PoisonedSession other{model, options};
            std::vector<TokenId> other_text{w.text.begin(), w.text.begin() + static_cast<std::ptrdiff_t>(w.head)};
            append(other_text, random_tokens(random, 5, family.shape.vocab));
            other.evaluate(other_text);
            std::vector<std::shared_ptr<const PoisonedSession::Block>> blocks;
            for (const auto& tokens : w.blocks) blocks.push_back(other.block(tokens, w.head, w.first_position));

            PoisonedSession session{model, options};
            evaluate_in_parts(session, w.text, random);
            session.see(blocks);
            require_exact(evaluate_in_parts(session, w.tail, random), expected, w.tail.size());

            // Cut within the tail, and evaluated again; a branch goes its own way.
            const std::size_t kept = random.below(w.tail.size());
            PoisonedSession branch = session.fork();
            session.truncate(w.text.size() + kept);
            if (kept == 0) session.see(blocks);
            session.evaluate(random_tokens(random, 3, family.shape.vocab));
            const std::vector<TokenId> next = random_tokens(random, 2, family.shape.vocab);
            Wanted longer = w;
            append(longer.tail, next);
            require_exact(branch.evaluate(next), from_scratch(model, longer, cache), longer.tail.size());

            // Cut to the text, it is a session that never heard of blocks.
            branch.truncate(w.text.size());
            CHECK(branch.blocks().empty());
            Session plain{model, {.cache = cache}};
            std::vector<TokenId> whole = w.text;
            append(whole, next);
            require_exact(branch.evaluate(next), plain.evaluate(whole), whole.size());
        }
    }
}

TEST_CASE("tokens that see blocks have the logits of a forward pass in double under that mask, at those positions") {
    std::size_t heard = 0;
    for (const FamilyModel& family : family_models()) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        SplitMix64 random{72};
        for (int i = 0; i < 3; ++i) {
            const Wanted w = random_wanted(random, family.shape.vocab);
            const Masked all = masked(w);
            DoubleTransformer plain = in_double(*model);
            plain.positions = all.positions;
            plain.sees = [&](std::size_t row, std::size_t other) { return all.sees(row, other); };
            const std::size_t last = w.text.size() + w.tail.size() - 1;
            const auto of_last = [&](const DoubleTransformer& m) -> DoubleRows {
                return m.logits(all.tokens).row(index64(last));
            };
            const DoubleRows expected = of_last(plain);
            const std::vector<float> found = from_scratch(model, w, DType::f32);
            const DoubleRows ours = matrix64({found.begin(), found.end()}, index64(found.size()));
            CHECK(farthest64(ours, expected) < 1e-4);

            // And the mask is heard, if the last token sees any of a block: without it, or with blocks elsewhere, the logits are others.
            bool hears = false;
            for (std::size_t t = 0; t < all.span.size(); ++t) hears |= all.span[t] >= 2 && all.sees(last, t);
            heard += hears;
            if (!hears) continue;
            DoubleTransformer blind = plain;
            blind.sees = [&](std::size_t row, std::size_t other) {
                return all.sees(row, other) && (all.span[row] >= 2 || all.span[other] < 2);
            };
            CHECK(farthest64(of_last(blind), expected) > 1e-3);
            DoubleTransformer moved = plain;
            for (std::size_t t = 0; t < moved.positions.size(); ++t) moved.positions[t] += all.span[t] >= 2 ? 1u : 0u;
            CHECK(farthest64(of_last(moved), expected) > 1e-6);
        }
    }
    CHECK(heard > 10);
}

TEST_CASE(
    "tokens keep what they saw if others are seen: the bits of the same calls in other pieces, and the logits of double") {
    for (const FamilyModel& family : {family_models()[1], family_models()[5], family_models()[6]}) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        SplitMix64 random{73};
        for (int i = 0; i < 8; ++i) {
            const Wanted w = random_wanted(random, family.shape.vocab);
            const DType cache = std::vector{DType::f32, DType::f16, DType::bf16, DType::i8}[random.below(4)];
            const std::vector<TokenId> middle = random_tokens(random, 1 + random.below(5), family.shape.vocab);
            const std::vector<TokenId> passage = random_tokens(random, 1 + random.below(70), family.shape.vocab);
            // Text, then tokens that see one passage, then some that see the blocks of `w`, and some that see nothing beside.
            const auto run = [&](auto& session, bool in_parts) {
                const auto evaluate = [&](TokenSpan tokens) {
                    return copy_of(in_parts ? evaluate_in_parts(session, tokens, random) : session.evaluate(tokens));
                };
                evaluate(w.text);
                session.see({session.block(passage, w.head, w.head)});
                evaluate(middle);
                using Block = typename std::remove_reference_t<decltype(session)>::Block;
                std::vector<std::shared_ptr<const Block>> blocks;
                for (const auto& tokens : w.blocks) blocks.push_back(session.block(tokens, w.head, w.first_position));
                session.see(blocks);
                const std::vector<float> seen = evaluate(w.tail);
                session.see({});
                CHECK(session.blocks().empty());
                CHECK(session.plain_size() == w.text.size());
                return std::pair{seen, evaluate(middle)};
            };
            Session whole{model, {.cache = cache, .block_gap = w.gap}};
            const auto expected = run(whole, false);
            ThreadPool pool{1 + random.below(3)};
            PoisonedSession session{model,
                                    {.piece = 1 + random.below(40), .executor = pool, .cache = cache, .block_gap = w.gap}};
            const auto found = run(session, true);
            const std::size_t all = session.size();
            require_exact(found.first, expected.first, all);
            require_exact(found.second, expected.second, all);

            // A branch holds the same. Cut to plain text, it is a session that never heard of blocks.
            PoisonedSession branch = session.fork();
            const std::vector<TokenId> next = random_tokens(random, 2, family.shape.vocab);
            require_exact(branch.evaluate(next), whole.evaluate(next), all + 2);
            branch.truncate(w.text.size() + 1);
            CHECK(branch.plain_size() == w.text.size());
            branch.truncate(w.text.size());
            Session plain{model, {.cache = cache}};
            std::vector<TokenId> text = w.text;
            append(text, next);
            require_exact(branch.evaluate(next), plain.evaluate(text), text.size());
            CHECK(branch.plain_size() == branch.size());

            if (cache != DType::f32) continue;
            // Rows in the order of the calls: text, passage, middle, blocks, tail, middle.
            std::vector<TokenId> tokens;
            DoubleTransformer oracle = in_double(*model);
            std::vector<std::size_t> span;  // 0: the text's own; else a passage
            std::vector<std::size_t> when;  // what of the passages a row sees: those of this number
            std::size_t position = 0;
            const auto add = [&](const std::vector<TokenId>& some, std::size_t its_span, std::size_t sees) {
                for (std::size_t j = 0; j < some.size(); ++j) {
                    tokens.push_back(some[j]);
                    span.push_back(its_span);
                    when.push_back(sees);
                    const std::size_t first = its_span == 1 ? w.head : w.first_position;
                    oracle.positions.push_back(its_span > 0 ? first + j : position++);
                }
            };
            add(w.text, 0, 0);
            add(passage, 1, 1);
            add(middle, 0, 1);
            for (std::size_t b = 0; b < w.blocks.size(); ++b) add(w.blocks[b], 2 + b, 2);
            add(w.tail, 0, 2);
            const std::size_t last_of_tail = tokens.size() - 1;
            add(middle, 0, 0);
            oracle.sees = [&](std::size_t row, std::size_t other) {
                if (other > row) return false;
                if (span[row] > 0) return span[other] == span[row] || (span[other] == 0 && other < w.head);
                if (span[other] == 0) return true;
                return (span[other] == 1 ? when[row] == 1 : when[row] == 2) &&
                       oracle.positions[other] + w.gap <= oracle.positions[row];
            };
            const auto check_row = [&](const std::vector<float>& logits, std::size_t row) {
                const DoubleRows of_row = oracle.logits(tokens).row(index64(row));
                CHECK(farthest64(matrix64({logits.begin(), logits.end()}, index64(logits.size())), of_row) < 1e-4);
            };
            check_row(expected.first, last_of_tail);
            check_row(expected.second, tokens.size() - 1);
        }
    }
}

TEST_CASE("a store gives sessions the blocks that others evaluated, with the bits of evaluating them again") {
    const ModelPtr model = random_model({.window = 200});
    SplitMix64 random{74};
    const std::vector<TokenId> text = random_tokens(random, 40, model->config.vocab);
    const std::vector<TokenId> passage = random_tokens(random, 70, model->config.vocab);
    const std::vector<TokenId> tail = random_tokens(random, 9, model->config.vocab);
    const auto run = [&](Session& session) {
        session.truncate(0);
        session.evaluate(text);
        session.see({session.block(passage, 1, 1)});
        return copy_of(session.evaluate(tail));
    };
    for (const BlockElement kind : {BlockElement::as_evaluated, BlockElement::f16, BlockElement::int8}) {
        for (const DType cache : {DType::f32, DType::f16}) {
            const auto store = std::make_shared<BlockStore>(BlockStoreOptions{.element = kind});
            Session first{model, {.cache = cache}, store};
            const std::vector<float> logits = run(first);
            CHECK(first.work() == 40 + 70 + 9);
            Session second{model, {.piece = 7, .cache = cache}, store};
            require_exact(run(second), logits, 49);
            CHECK(second.work() == 40 + 9);
            Session branch = second.fork();
            require_exact(run(branch), logits, 49);
            CHECK(branch.work() == 40 + 9);
            CHECK(store->counts().hits == 2);

            Session without{model, {.cache = cache}};
            const std::vector<float> exact = run(without);
            const bool rounds = kind == BlockElement::int8 || (kind == BlockElement::f16 && cache == DType::f32);
            CHECK(same_bits(exact, logits) != rounds);
            double farthest = 0;
            for (std::size_t i = 0; i < exact.size(); ++i)
                farthest = std::max(farthest, std::fabs(static_cast<double>(exact[i] - logits[i])));
            CHECK(farthest < (kind == BlockElement::int8 ? 0.05 : 0.005));
            if (kind == BlockElement::int8) CHECK(farthest > 1e-5);

            // What a block depends on besides its tokens: another element of the cache is another fingerprint.
            Session other{model, {.cache = DType::bf16}, store};
            run(other);
            CHECK(other.work() == 40 + 70 + 9);
            CHECK(store->counts().blocks == 2);
            first.truncate(0);
            first.evaluate(text);
            static_cast<void>(first.block(passage, 2, 1));
            static_cast<void>(first.block(passage, 1, 2));
            CHECK(store->counts().blocks == 4);
        }
    }
}

TEST_CASE("a file gives sessions the blocks that another run evaluated, with the bits of evaluating them again") {
    const ModelPtr model = random_model({.window = 200});
    SplitMix64 random{75};
    const TemporaryFolder folder;
    const std::vector<TokenId> text = random_tokens(random, 40, model->config.vocab);
    const std::vector<TokenId> passage = random_tokens(random, 70, model->config.vocab);
    const std::vector<TokenId> tail = random_tokens(random, 9, model->config.vocab);
    const auto run = [&](Session& session) {
        session.evaluate(text);
        session.see({session.block(passage, 1, 1)});
        return copy_of(session.evaluate(tail));
    };
    for (const BlockElement kind : {BlockElement::as_evaluated, BlockElement::f16, BlockElement::int8}) {
        for (const DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
            const auto path = folder.path() / "blocks.kv";
            Session indexing{model, {.cache = cache}};
            indexing.evaluate(TokenSpan{text}.first(1));  // all that a block sees
            BlockFileWriter writer{path, kind};
            writer.add(*indexing.block(passage, 1, 1));
            writer.finish();
            const auto file = std::make_shared<const BlockFile>(BlockFile::open(path));

            Session without{model, {.cache = cache}, std::make_shared<BlockStore>(BlockStoreOptions{.element = kind})};
            const std::vector<float> expected = run(without);
            const auto store = std::make_shared<BlockStore>(BlockStoreOptions{.element = kind}, file);
            Session session{model, {.cache = cache}, store};
            require_exact(run(session), expected, 49);
            CHECK(session.work() == 40 + 9);
            CHECK(store->counts().reads == 1);

            const auto refused = [&](const ModelPtr& other, const SessionOptions& options) {
                check_error(ErrorCode::contract, "but this session has", [&] { Session{other, options, store}; });
            };
            refused(random_model({.window = 200, .seed = 2}), {.cache = cache});
            refused(model, {.cache = cache == DType::f32 ? DType::f16 : DType::f32});
        }
    }
}

TEST_CASE("a store knows adapters and their scales apart") {
    const ModelPtr model = random_model({.window = 64});
    const auto adapter = [&](std::uint64_t seed) {
        return std::make_shared<const PackedAdapter>(random_adapter(model->config, {.seed = seed}), model->config);
    };
    const auto store = std::make_shared<BlockStore>();
    const auto work = [&](const SessionOptions& options) {
        Session session{model, options, store};
        session.evaluate(TokenBuffer{1});
        static_cast<void>(session.block(TokenBuffer{7, 8}, 1, 1));
        return session.work();
    };
    CHECK(work({}) == 3);
    CHECK(work({.adapter = adapter(1)}) == 3);
    CHECK(work({.adapter = adapter(2)}) == 3);
    CHECK(work({.adapter = adapter(1), .adapter_scale = 0.5f}) == 3);
    CHECK(work({}) == 1);
    CHECK(work({.adapter = adapter(1)}) == 1);
    CHECK(work({.adapter = adapter(1), .adapter_scale = 0.5f}) == 1);
    CHECK(store->counts().blocks == 4);
}

TEST_CASE("what makes no sense of blocks is refused, and nothing has changed") {
    const ModelPtr model = random_model({.window = 32});
    Session session{model};
    session.evaluate(TokenBuffer{1, 5, 6});
    const TokenBuffer passage{7, 8};
    CHECK_THROWS_WITH_AS(session.block({}, 1, 1), "evaluate needs at least 1 token, found none", Error);
    CHECK_THROWS_WITH_AS(session.block(passage, 4, 1), "a block sees 4 positions of the text, but 3 are held", Error);
    CHECK_THROWS_WITH_AS(session.block(passage, 1, 31),
                         "a block of 2 tokens from position 31 on does not fit into the 32 positions of the model", Error);
    CHECK_THROWS_AS(session.block(TokenBuffer{-1}, 1, 1), Error);
    CHECK_THROWS_WITH_AS(session.see({nullptr}), "a session cannot see a block that is null", Error);

    Session other{random_model({.window = 32, .seed = 2})};
    other.evaluate(TokenBuffer{1});
    CHECK_THROWS_AS(session.see({other.block(passage, 1, 1)}), Error);
    Session elsewhere{model};
    elsewhere.evaluate(TokenBuffer{4, 1});
    CHECK_THROWS_WITH_AS(session.see({elsewhere.block(passage, 1, 1)}),
                         "a block sees a head of 1 tokens that are not the first ones of this session", Error);
    CHECK(session.blocks().empty());

    session.see({session.block(passage, 1, 1)});
    session.evaluate(TokenBuffer{9});
    CHECK(session.size() == 4);
    CHECK(session.plain_size() == 3);
    CHECK_THROWS_WITH_AS(session.block(passage, 4, 1), "a block sees 4 positions of the text, but 3 are held", Error);
    CHECK(std::ranges::equal(session.tokens(), TokenBuffer{1, 5, 6, 9}));
    CHECK_THROWS_AS(session.evaluate(TokenBuffer(29, 3)), Error);  // 33 positions
    session.evaluate(TokenBuffer(28, 3));
    CHECK(session.size() == 32);
}

}  // namespace test_model_blocks

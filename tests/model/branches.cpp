// Branches: sessions whose forks share pages, and several sessions in one pass. Everything to the bit.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_branches {

using namespace flashback;
using namespace flashback_test;

namespace {

const std::vector<RandomModel> shapes{
    {.layers = 2},
    {.layers = 1, .width = 20, .heads = 5, .kv_heads = 1, .head_dim = 4, .hidden = 27, .vocab = 33, .tied = true},
    {.layers = 2, .width = 40, .heads = 2, .kv_heads = 1, .head_dim = 128, .hidden = 300, .vocab = 331}};

struct Branch {
    PoisonedPagedSession session;
    std::vector<TokenId> tokens;
};

/// The tokens of some branches in one pass, and the logits of each against an evaluation from scratch.
template <class S>
void evaluate_together(const ModelPtr& model, const std::vector<std::pair<S*, std::vector<TokenId>*>>& branches,
                       const std::vector<std::vector<TokenId>>& more) {
    std::vector<S*> sessions;
    std::vector<TokenSpan> spans;
    for (std::size_t i = 0; i < branches.size(); ++i) {
        sessions.push_back(branches[i].first);
        spans.emplace_back(more[i]);
        append(*branches[i].second, more[i]);
    }
    const std::vector<float> logits = copy_of(S::evaluate_each(sessions, spans));
    const std::size_t vocab = sessions.front()->vocab_size();
    REQUIRE(logits.size() == sessions.size() * vocab);
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        require_exact(std::span{logits}.subspan(i * vocab, vocab), model, *branches[i].second);
        REQUIRE(std::ranges::equal(sessions[i]->tokens(), *branches[i].second));
    }
}

}  // namespace

TEST_CASE(
    "random evaluations, cuts, forks, drops and shared passes of paged sessions give the logits of an evaluation from "
    "scratch") {
    for (const RandomModel& shape : shapes) {
        CAPTURE(shape.head_dim);
        const ModelPtr model = random_model(shape);
        for (std::uint64_t seed = 1; seed <= 4; ++seed) {
            CAPTURE(seed);
            SplitMix64 random{seed};
            ThreadPool pool{1 + random.below(3)};
            std::vector<std::unique_ptr<Branch>> branches;
            const SessionOptions options{.window = 260, .piece = 1 + random.below(100), .executor = pool};
            branches.push_back(std::make_unique<Branch>(Branch{PoisonedPagedSession{model, options}, {}}));
            for (int step = 0; step < 30; ++step) {
                const std::size_t chosen = random.below(branches.size());
                Branch& one = *branches[chosen];
                const auto more_for = [&](const Branch& branch) {
                    const std::size_t room = branch.session.window() - branch.session.size();
                    return random_tokens(random, std::min(room, random.below(2) == 0 ? 1 : 1 + random.below(70)), shape.vocab);
                };
                const std::size_t action = random.below(6);
                if (action == 0) {
                    one.tokens.resize(random.below(one.tokens.size() + 1));
                    one.session.truncate(one.tokens.size());
                } else if (action == 1 && branches.size() < 5) {
                    branches.push_back(std::make_unique<Branch>(Branch{one.session.fork(), one.tokens}));
                } else if (action == 2 && branches.size() > 1) {
                    branches.erase(branches.begin() + static_cast<std::ptrdiff_t>(chosen));
                } else if (action == 3) {
                    const std::vector<TokenId> more = more_for(one);
                    if (more.empty()) continue;
                    append(one.tokens, more);
                    require_exact(one.session.evaluate(more), model, one.tokens);
                } else {
                    std::vector<std::pair<PoisonedPagedSession*, std::vector<TokenId>*>> some;
                    std::vector<std::vector<TokenId>> more;
                    for (const auto& branch : branches) {
                        std::vector<TokenId> its = more_for(*branch);
                        if (its.empty() || random.below(4) == 0) continue;
                        some.emplace_back(&branch->session, &branch->tokens);
                        more.push_back(std::move(its));
                    }
                    if (!some.empty()) evaluate_together(model, some, more);
                }
            }
        }
    }
}

TEST_CASE("several sessions in one pass: one token each, ragged texts, more rows than a piece, every family and element") {
    for (const FamilyModel& family : family_models()) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        for (const DType cache : {DType::f32, DType::f16, DType::i8}) {
            for (const std::size_t piece : {3u, 40u, 256u}) {
                CAPTURE(piece);
                SplitMix64 random{piece};
                ThreadPool pool{2};
                const SessionOptions options{.piece = piece, .executor = pool, .cache = cache};
                std::vector<std::unique_ptr<PoisonedSession>> together;
                std::vector<std::unique_ptr<Session>> alone;
                std::vector<PoisonedSession*> sessions;
                for (std::size_t i = 0; i < 5; ++i) {
                    together.push_back(std::make_unique<PoisonedSession>(model, options));
                    alone.push_back(std::make_unique<Session>(model, SessionOptions{.cache = cache}));
                    sessions.push_back(together.back().get());
                }
                for (const std::vector<std::size_t>& lengths :
                     {std::vector<std::size_t>{1, 20, 3, 17, 1}, {1, 1, 1, 1, 1}, {30, 1, 1, 2, 12}}) {
                    std::vector<std::vector<TokenId>> texts;
                    for (const std::size_t length : lengths) texts.push_back(random_tokens(random, length, family.shape.vocab));
                    const std::vector<TokenSpan> spans(texts.begin(), texts.end());
                    const std::vector<float> logits = copy_of(PoisonedSession::evaluate_each(sessions, spans));
                    const std::size_t vocab = alone.front()->vocab_size();
                    for (std::size_t i = 0; i < sessions.size(); ++i) {
                        const std::span<const float> expected = alone[i]->evaluate(texts[i]);
                        require_exact(std::span{logits}.subspan(i * vocab, vocab), expected, alone[i]->size());
                        CHECK(sessions[i]->work() == alone[i]->work());
                    }
                }
            }
        }
    }
}

TEST_CASE("sessions that see blocks share passes with those that do not, in pages or not") {
    const RandomModel shape{.layers = 2, .vocab = 60};
    const ModelPtr model = random_model(shape);
    SplitMix64 random{5};
    const std::vector<TokenId> text = random_tokens(random, 50, shape.vocab);
    const std::vector<TokenId> passage = random_tokens(random, 70, shape.vocab);
    const auto check = [&]<class S>(S&& trunk) {
        using Type = std::remove_cvref_t<S>;
        Session sees{model, {.block_gap = 3}};
        sees.evaluate(text);
        sees.see({sees.block(passage, 1, 1)});
        Session plain{model};
        plain.evaluate(text);

        trunk.evaluate(text);
        Type branch = trunk.fork();
        branch.see({branch.block(passage, 1, 1)});
        Type late = branch.fork();  // sees them, too
        for (int step = 0; step < 3; ++step) {
            const std::vector<TokenId> more = random_tokens(random, 1 + 15 * static_cast<std::size_t>(step), shape.vocab);
            const std::vector<TokenSpan> spans(3, TokenSpan{more});
            const std::vector<Type*> all{&branch, &trunk, &late};
            const std::vector<float> logits = copy_of(Type::evaluate_each(all, spans));
            const std::size_t vocab = shape.vocab;
            const std::vector<float> expected = copy_of(sees.evaluate(more));
            require_exact(std::span{logits}.first(vocab), expected, sees.size());
            require_exact(std::span{logits}.subspan(vocab, vocab), plain.evaluate(more), plain.size());
            require_exact(std::span{logits}.last(vocab), expected, sees.size());
        }
        late.see({});
        CHECK(late.plain_size() == text.size());
    };
    check(PoisonedSession{model, {.piece = 20, .block_gap = 3}});
    check(PoisonedPagedSession{model, {.piece = 20, .block_gap = 3}});
}

TEST_CASE("what cannot share a pass is refused in words, and what does not fit changes nothing") {
    const ModelPtr model = random_model({.vocab = 30});
    const ModelPtr other = random_model({.vocab = 30});
    const std::vector<TokenId> some{1, 2, 3};
    const std::vector<TokenSpan> spans(2, TokenSpan{some});
    Session a{model};
    Session b{model};
    const auto refused = [&](const char* words, Session& second, std::span<const TokenSpan> tokens,
                             ErrorCode code = ErrorCode::contract) {
        const std::vector<Session*> both{&a, &second};
        check_error(code, words, [&] { static_cast<void>(Session::evaluate_each(both, tokens)); });
        CHECK(a.size() == 0);
        CHECK(second.size() == 0);
    };
    refused("session 0 was given to evaluate_each twice", a, spans);
    refused("at least 1 session, and tokens for each, found 2 and 1", b, std::span{spans}.first(1));
    Session of_other{other};
    refused("session 1 of evaluate_each has another model", of_other, spans);
    Session rounded{model, {.cache = DType::f16}};
    refused("session 1 of evaluate_each has another model, adapter, scale or element", rounded, spans);
    const std::vector<TokenId> bad{1, 30};
    refused("token 30 is not in the vocabulary", b, std::vector<TokenSpan>{some, bad});
    Session small{model, {.window = 2}};
    refused("the session holds 0 of 2 positions, and 3 more do not fit", small, spans, ErrorCode::window);
    for (const std::vector<Session*>& with_null : {std::vector<Session*>{&a, nullptr}, {nullptr, &a}}) {
        check_error(ErrorCode::contract,
                    with_null[0] ? "session 1 of evaluate_each is null" : "session 0 of evaluate_each is null",
                    [&] { static_cast<void>(Session::evaluate_each(with_null, spans)); });
        CHECK(a.size() == 0);
    }
    check_error(ErrorCode::contract, "at least 1 session, and tokens for each, found 0 and 0",
                [] { static_cast<void>(Session::evaluate_each({}, {})); });

    // Pages for one of two: neither has read anything, and the pool is as it was.
    const auto pages =
        std::make_shared<KVPagePool>(PagedSession::cache_shape(model),
                                     KVPagePoolOptions{.budget = KVPagePool{PagedSession::cache_shape(model)}.page_bytes()});
    const auto in_pool = [&](const KVShape& shape) { return PagedKVCache{shape, pages}; };
    PagedSession one{model, {}, {}, in_pool};
    PagedSession two{model, {}, {}, in_pool};
    const std::vector<PagedSession*> both{&one, &two};
    check_error(ErrorCode::window, "1 pages of", [&] { static_cast<void>(PagedSession::evaluate_each(both, spans)); });
    CHECK(pages->used_bytes() == 0);
    require_exact(one.evaluate(some), model, some);
    check_error(ErrorCode::window, "has 0 of 1 pages left", [&] { two.evaluate(some); });
    CHECK(two.size() == 0);
    check_error(ErrorCode::contract, "the cache that was made for a session has another shape", [&] {
        PagedSession{model, {}, {}, [](KVShape shape) {
                         shape.positions = 1;
                         return PagedKVCache{shape};
                     }};
    });
}

TEST_CASE("branches of one trunk evaluate in several threads") {
    const RandomModel shape{.layers = 2};
    const ModelPtr model = random_model(shape);
    SplitMix64 random{7};
    const std::vector<TokenId> text = random_tokens(random, 100, shape.vocab);
    PagedSession trunk{model};
    trunk.evaluate(text);
    struct Own {
        PagedSession session;
        std::vector<TokenId> more;
        std::vector<float> logits = {};
    };
    std::vector<Own> branches;
    for (std::size_t i = 0; i < 4; ++i) branches.push_back({trunk.fork(), random_tokens(random, 1 + 20 * i, shape.vocab)});
    std::vector<std::thread> threads;
    for (Own& own : branches) threads.emplace_back([&own] { own.logits = copy_of(own.session.evaluate(own.more)); });
    for (std::thread& thread : threads) thread.join();
    for (const Own& own : branches) {
        std::vector<TokenId> all = text;
        append(all, own.more);
        require_exact(own.logits, model, all);
    }
}

}  // namespace test_model_branches

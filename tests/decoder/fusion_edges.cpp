// Fusions where something ends, is full, is copied, or goes wrong.
#include "flashback/core/error.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_fusion.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_fusion_edges {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 2, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = 320};

auto policies_of(const AnyLayout& layout, const AnyFusion& fusion) {
    return Policies{}.schedule(EveryNTokens{6}).query(LastNTokens{8}).wrapper(MarkerTokens{3, 4}).layout(layout).fusion(fusion);
}

GenerateOptions options_of(std::size_t tokens, std::size_t passages) {
    return {.max_tokens = tokens, .passages = passages, .ignore_eos = true, .head = TokenBuffer{1}};
}

/// A text, and what finds its passages.
struct Text {
    ModelPtr model;
    TokenBuffer prompt;
    RandomRetriever retriever{20, 30, shape.vocab, 7};

    explicit Text(std::size_t window = shape.window, std::size_t layers = shape.layers, std::size_t length = 40) {
        RandomModel its = shape;
        its.window = window;
        its.layers = layers;
        model = random_model(its);
        SplitMix64 random{11};
        prompt = random_tokens(random, length, shape.vocab);
    }
};

/// Retrieves at the start and where the newest token was not likely: it reads logits.
struct OnDoubt {
    double below = 0.3;
    bool operator()(const StepView& step) const { return step.retrievals == 0 || step.probability() < below; }
};

}  // namespace

TEST_CASE("texts of a group look at the logits of the last pass, also if the branches of another have ended since") {
    Text text;
    const auto doubting = Policies{}.schedule(OnDoubt{}).query(LastNTokens{8});
    const auto short_one = doubting.fusion(MeanOfLogits{});
    DecoderGroup<PagedSession> group;
    std::vector<std::unique_ptr<PagedSession>> sessions;
    for (int i = 0; i < 3; ++i) sessions.push_back(std::make_unique<PagedSession>(text.model));
    group.add(*sessions[0], text.retriever, short_one, text.prompt, options_of(7, 3));  // its branches stand first in a pass
    group.add(*sessions[1], text.retriever, doubting, text.prompt, options_of(30, 1));
    group.add(*sessions[2], text.retriever, short_one, TokenSpan{text.prompt}.first(20), options_of(30, 2));
    group.run();
    const auto alone = [&](const auto& policies, TokenSpan prompt, const GenerateOptions& options) {
        PagedSession session{text.model};
        return Decoder{session, text.retriever, policies}.generate(prompt, options);
    };
    CHECK(group.result(0).tokens == alone(short_one, text.prompt, options_of(7, 3)).tokens);
    const Generation second = alone(doubting, text.prompt, options_of(30, 1));
    CHECK(group.result(1).tokens == second.tokens);
    CHECK(group.result(1).stats.retrievals == second.stats.retrievals);
    CHECK(second.stats.retrievals > 1);
    CHECK(group.result(2).tokens == alone(short_one, TokenSpan{text.prompt}.first(20), options_of(30, 2)).tokens);
}

TEST_CASE("a text that cancels itself ends after the token that it was handed") {
    Text text;
    DecoderGroup<PagedSession> group;
    PagedSession session{text.model};
    std::size_t heard = 0;
    group.add(session, text.retriever, policies_of(AnyLayout{}, AnyFusion{MeanOfLogits{}}), text.prompt, options_of(30, 3),
              [&](TokenId) {
                  if (++heard == 4) group.cancel(0);
              });
    group.run();
    CHECK(group.result(0).stop == StopReason::cancelled);
    CHECK(group.result(0).tokens.size() == 4);
    CHECK(heard == 4);
}

TEST_CASE("passages that are cut for a full window leave fusions as many branches as they had, or none") {
    Text text{120};
    for (const AnyFusion& fusion :
         {AnyFusion{WeightedMixture{}}, AnyFusion{RagSequence{}}, AnyFusion{MeanOfLogits{}}, AnyFusion{FirstPassage{}}}) {
        PagedSession session{text.model};
        const auto policies = policies_of(AnyLayout{}, fusion).overflow(ShortenPassages{0});
        const Generation found = Decoder{session, text.retriever, policies}.generate(text.prompt, options_of(200, 3));
        CHECK(found.stop == StopReason::window_full);
        CHECK(found.tokens.size() == 120 - 40);  // at the end the window is full of text, head included
        CHECK(found.stats.shortened > 0);
        CHECK(found.stats.dropped == 0);
    }
}

TEST_CASE("passages beside the text take no room in a window, and are not cut for it") {
    Text text{120};
    Session session{text.model};
    const auto policies = policies_of(AnyLayout{PassagesAside{}}, AnyFusion{}).overflow(ShortenPassages{});
    const Generation found = Decoder{session, text.retriever, policies}.generate(text.prompt, options_of(200, 3));
    CHECK(found.stop == StopReason::window_full);
    CHECK(found.stats.shortened == 0);
}

TEST_CASE("what follows ShortenPassages is a policy of its own: it hears, and a reference moves as it does") {
    struct Hears {
        std::size_t resets = 0;
        std::size_t operator()(const FullWindow& full) const { return full.context / 2; }
        static Rotation rotation() { return {.moves = true, .sinks = 2}; }
        void reset() { ++resets; }
    } hears;
    Text text{120};
    Session session{text.model};
    const auto policies = policies_of(AnyLayout{}, AnyFusion{}).overflow(ShortenPassages{0, std::ref(hears)});
    CHECK(rotation_of(policies.overflow()) == Rotation{.moves = true, .sinks = 2});
    const Generation found = Decoder{session, text.retriever, policies}.generate(text.prompt, options_of(200, 1));
    CHECK(found.tokens.size() == 200);
    CHECK(hears.resets == 1);
}

TEST_CASE("passages beside the text in branches, in a window that rolls: as if what stays had been evaluated anew") {
    Text text{150, 1};
    /// Drops what AttentionSinks drops.
    struct Anew {
        AttentionSinks sinks{4, 8};
        std::size_t operator()(const FullWindow& full) const { return sinks(full); }
        Rotation rotation() const { return {.moves = false, .sinks = 4}; }
    };
    const auto write = [&](const AnyOverflow& overflow) {
        PagedSession session{text.model, {.cache = DType::f32}};
        const auto policies = policies_of(AnyLayout{PassagesAside{}}, AnyFusion{MeanOfLogits{}}).overflow(overflow);
        return Decoder{session, text.retriever, policies}.generate(text.prompt, options_of(300, 3));
    };
    const Generation moved = write(AnyOverflow{AttentionSinks{4, 8}});
    const Generation anew = write(AnyOverflow{Anew{}});
    CHECK(moved.tokens.size() == 300);
    CHECK(moved.tokens == anew.tokens);
    CHECK(moved.stats.counts.evaluated < anew.stats.counts.evaluated);
}

TEST_CASE("an error in the middle ends the branches, and the decoder goes on afterwards") {
    Text text;
    const auto pool = std::make_shared<KVPagePool>(PagedSession::cache_shape(text.model));
    PagedSession session{text.model, {}, {}, [&](const KVShape& its) { return PagedKVCache{its, pool}; }};
    struct Fails {
        std::size_t left;
        TokenId operator()(std::span<const float> logits, const StepView& step) {
            CHECK(step.logits.empty());  // a sampler has the logits that it takes a token from, and no others
            if (left-- == 0) throw std::runtime_error("no token today");
            return Greedy{}(logits);
        }
        static void reset() {}
    };
    Decoder decoder{session, text.retriever, policies_of(AnyLayout{}, AnyFusion{RagSequence{}}).sampler(Fails{9})};
    CHECK_THROWS_AS(decoder.generate(text.prompt, options_of(30, 3)), std::runtime_error);
    CHECK(decoder.partial().tokens.size() == 9);
    const std::size_t alone = pool->used_bytes();
    CHECK(alone <= 2 * pool->page_bytes());  // the text alone: up to 60 tokens
    decoder.policies().sampler().left = 1000;
    const Generation found = decoder.generate(text.prompt, options_of(30, 3));
    PagedSession other{text.model};
    CHECK(found.tokens == Decoder{other, text.retriever, policies_of(AnyLayout{}, AnyFusion{RagSequence{}})}
                              .generate(text.prompt, options_of(30, 3))
                              .tokens);
    CHECK(pool->used_bytes() <= 2 * pool->page_bytes());
    CHECK_THROWS_AS(decoder.generate(text.prompt, options_of(30, 3),
                                     [n = 0](TokenId) mutable {
                                         if (++n == 9) throw std::runtime_error("the reader is gone");
                                     }),
                    std::runtime_error);
    CHECK(pool->used_bytes() <= 2 * pool->page_bytes());
}

TEST_CASE("a copy of a generator goes on with branches of its own") {
    Text text;
    PagedSession session{text.model};
    Generator generator{policies_of(AnyLayout{}, AnyFusion{RagSequence{}})};
    const auto drive = [&](auto& which, PagedSession& model, Branches<PagedSession>& branches, std::size_t until) {
        while (which.need().kind != Need::Kind::done && which.result().tokens.size() < until) {
            const Need need = which.need();
            switch (need.kind) {
                case Need::Kind::search: which.found(text.retriever.retrieve(need.query, need.passages)); break;
                case Need::Kind::truncate:
                    model.truncate(need.length);
                    which.truncated(model.size());
                    break;
                case Need::Kind::branch: which.branched(branches.open(model, need.branches, need.length)); break;
                case Need::Kind::evaluate: {
                    const auto logits = need.each.empty() ? model.evaluate(need.tokens) : branches.evaluate(need.each);
                    which.evaluated(logits, model.size());
                    break;
                }
                default: which.resume();
            }
        }
    };
    generator.start(text.prompt, options_of(30, 3), {.vocab_size = shape.vocab, .window = shape.window, .branches = true});
    Branches<PagedSession> branches;
    drive(generator, session, branches, 6);  // the next need is a search
    Generator copy = generator;
    PagedSession forked = session.fork();
    Branches<PagedSession> others;
    drive(generator, session, branches, 31);
    generator = Generator{policies_of(AnyLayout{}, AnyFusion{})};  // nothing that the copy views is left
    branches.close();
    // The copy knows of branches that stand: here they are made anew, so it may continue none of them.
    Generation found;
    {
        Need need = copy.need();
        while (need.kind != Need::Kind::done) {
            if (need.kind == Need::Kind::branch) {
                std::vector<BranchPlan> plans(need.branches.begin(), need.branches.end());
                std::vector<std::size_t> beside(plans.size(), 0);
                bool from_trunk = true;
                for (const BranchPlan& plan : plans) from_trunk = from_trunk && plan.from == BranchPlan::trunk;
                CHECK(from_trunk);
                copy.branched(others.open(forked, plans, need.length));
            } else {
                drive(copy, forked, others, copy.result().tokens.size() + 1);
            }
            need = copy.need();
        }
        found = copy.take();
    }
    PagedSession alone{text.model};
    CHECK(found.tokens == Decoder{alone, text.retriever, policies_of(AnyLayout{}, AnyFusion{RagSequence{}})}
                              .generate(text.prompt, options_of(30, 3))
                              .tokens);
}

TEST_CASE("a model that turns keys, but does not tell what is exact, begins its next text from what is") {
    struct Turns {
        Session session;
        std::span<const float> evaluate(TokenSpan tokens) { return session.evaluate(tokens); }
        void truncate(std::size_t size) { session.truncate(size); }
        std::size_t size() const { return session.size(); }
        std::size_t vocab_size() const { return session.vocab_size(); }
        std::size_t window() const { return session.window(); }
        void evict(std::size_t first, std::size_t count) { session.evict(first, count); }
        bool can_evict() const { return session.can_evict(); }
    };
    Text text{100};
    Turns turns{Session{text.model}};
    const auto rolling = Policies{}.schedule(Never{}).overflow(AttentionSinks{4, 16});
    Decoder decoder{turns, text.retriever, rolling};
    const Generation first = decoder.generate(text.prompt, options_of(120, 0));
    CHECK(first.stats.dropped > 0);
    // The next text begins with what the model holds now.
    TokenBuffer next = text.prompt;
    next.resize(4);
    append(next, TokenSpan{first.tokens}.last(60));
    const Generation second = decoder.generate(next, options_of(10, 0));
    CHECK(second.stats.counts.reused <= 5);
    Session fresh{text.model};
    CHECK(second.tokens == Decoder{fresh, text.retriever, rolling}.generate(next, options_of(10, 0)).tokens);
}

TEST_CASE("scores that are no numbers are the retriever's, not the model's") {
    struct Scores {
        TokenBuffer tokens{5, 6};
        std::vector<Passage> found = {};
        std::span<const Passage> retrieve(const Query&, std::size_t k) {
            found.assign(k, {.tokens = tokens, .score = std::numeric_limits<float>::quiet_NaN()});
            return found;
        }
    } scores;
    Text text;
    Session session{text.model};
    check_error(ErrorCode::contract, "passage 0 has the score nan, expected a finite number to weigh it by", [&] {
        Decoder{session, scores, policies_of(AnyLayout{}, AnyFusion{WeightedMixture{}})}.generate(text.prompt,
                                                                                                  options_of(3, 2));
    });
}

TEST_CASE("a window that fills up in the branches: the text stops, or its oldest tokens are dropped") {
    RandomModel small = shape;
    small.window = 96;
    const ModelPtr model = random_model(small);
    SplitMix64 random{11};
    const TokenBuffer prompt = random_tokens(random, 40, shape.vocab);
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    PagedSession session{model};
    const Generation stopped =
        Decoder{session, retriever, policies_of(AnyLayout{AppendPassages{}}, AnyFusion{MeanOfLogits{}})}.generate(
            prompt, options_of(100, 3));
    CHECK(stopped.stop == StopReason::window_full);
    CHECK(stopped.tokens.size() > 10);
    const auto dropping = policies_of(AnyLayout{AppendPassages{}}, AnyFusion{MeanOfLogits{}}).overflow(DropOldest{});
    PagedSession other{model};
    const Generation whole = Decoder{other, retriever, dropping}.generate(prompt, options_of(100, 3));
    CHECK(whole.tokens.size() == 100);
    CHECK(whole.stats.dropped > 0);
    CHECK(std::ranges::equal(stopped.tokens, TokenSpan{whole.tokens}.first(stopped.tokens.size())));
}

TEST_CASE("what cannot be fused is refused in words") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{12};
    const TokenBuffer prompt = random_tokens(random, 20, shape.vocab);
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    struct Unforkable {
        Session session;
        std::span<const float> evaluate(TokenSpan tokens) { return session.evaluate(tokens); }
        void truncate(std::size_t size) { session.truncate(size); }
        std::size_t size() const { return session.size(); }
        std::size_t vocab_size() const { return session.vocab_size(); }
    } unforkable{Session{model}};
    check_error(
        ErrorCode::contract,
        "a fusion of passages in 3 branches needs a model that can be forked (BranchingModel), found one that cannot", [&] {
            Decoder{unforkable, retriever, policies_of(AnyLayout{AppendPassages{}}, AnyFusion{MeanOfLogits{}})}.generate(
                prompt, options_of(5, 3));
        });
    struct NoGroups {
        void groups(std::size_t, std::vector<PassageGroup>&) const {}
    };
    struct TwoGroups {
        void groups(std::size_t, std::vector<PassageGroup>& out) const { out.assign(2, {}); }
    };
    struct Beyond {
        void groups(std::size_t passages, std::vector<PassageGroup>& out) const { out.push_back({1, passages}); }
    };
    Session session{model};
    const auto refused = [&](const AnyFusion& fusion, std::string_view sentence) {
        check_error(ErrorCode::contract, sentence, [&] {
            Decoder{session, retriever, policies_of(AnyLayout{AppendPassages{}}, fusion)}.generate(prompt, options_of(5, 3));
        });
    };
    refused(AnyFusion{NoGroups{}}, "a fusion of passages gave no group, expected at least one");
    // Of one that is chosen at run time this is known when it is to fuse.
    refused(AnyFusion{TwoGroups{}}, "a fusion of passages gave 2 groups, but it cannot be called as fusion(const LogitRows&");
    check_error(ErrorCode::contract, "a fusion of passages gave 2 groups, but it cannot be called as fusion(const LogitRows&",
                [&] {
                    Decoder{session, retriever, Policies{}.fusion(TwoGroups{})}.generate(prompt, options_of(5, 3));
                });
    refused(AnyFusion{Beyond{}}, "a fusion of passages takes 3 passages from rank 1 on, but 3 were found");
}

TEST_CASE("a pool that has no pages for branches says so, and gives back what it gave") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{13};
    const TokenBuffer prompt = random_tokens(random, 100, shape.vocab);
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    std::size_t whole = 0;
    std::size_t failed = 0;
    for (std::size_t pages = 1; pages < 16; ++pages) {
        CAPTURE(pages);
        const KVShape cache = PagedSession::cache_shape(model);
        const std::size_t budget = pages * KVPagePool{cache}.page_bytes();
        const auto pool = std::make_shared<KVPagePool>(cache, KVPagePoolOptions{.budget = budget});
        PagedSession session{model, {}, {}, [&](const KVShape& its) { return PagedKVCache{its, pool}; }};
        Decoder decoder{session, retriever, policies_of(AnyLayout{AppendPassages{}}, AnyFusion{MeanOfLogits{}})};
        try {
            const Generation found = decoder.generate(prompt, options_of(30, 4));
            CHECK(found.tokens.size() == 30);
            ++whole;
        } catch (const Error& error) {
            CHECK(to_string(error.code()) == to_string(ErrorCode::window));
            ++failed;
            // The same decoder goes on if it asks for less.
            if (pages > 3) CHECK(decoder.generate(prompt, options_of(10, 1)).tokens.size() == 10);
        }
        session.truncate(0);
        CHECK(pool->used_bytes() == 0);  // branches end with their generation, also by an error
    }
    CHECK(whole > 0);
    CHECK(failed > 3);
}

}  // namespace test_decoder_fusion_edges

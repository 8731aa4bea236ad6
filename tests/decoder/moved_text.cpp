// Text that stays when the passages in front of it leave: against the same done by hand, to the bit; and, in a model of one layer, where
// keys and values depend on the token and its position alone, against an evaluation of everything.
#include "flashback/decoder/decoder.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/ranked_passages.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_moved_text {

using namespace flashback;
using namespace flashback_test;

namespace {

RandomModel shape_of(std::size_t layers, std::size_t window = 600) {
    return {.layers = layers, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = window};
}

GenerateOptions options_of(std::size_t tokens, std::size_t passages = 1) {
    return {.max_tokens = tokens, .passages = passages, .ignore_eos = true, .head = TokenBuffer{1}};
}

TokenId likeliest(std::span<const float> logits) {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

TokenBuffer wrapped(TokenSpan passage) {
    TokenBuffer tokens{3};
    append(tokens, passage);
    tokens.push_back(4);
    return tokens;
}

/// Greedy, without tokens that have no probability.
TokenId next_token(std::span<const float> logits) {
    std::vector<float> open(logits.begin(), logits.end());
    open[3] = open[4] = -INFINITY;
    return likeliest(open);
}

/// Takes tokens back now and then, and drops passages now and then.
struct Restless {
    std::size_t calls = 0;

    Decision operator()(const StepView& step) {
        ++calls;
        const std::size_t most = step.generated();
        if (calls % 31 == 0 && most > 3) return Decision::retrieve(3);
        if (calls % 47 == 0 && most > 12) return Decision::retrieve(12);
        if (calls % 53 == 0) return Decision::drop_passages();
        return calls % 7 == 1;
    }
    void reset() { calls = 0; }
};

}  // namespace

TEST_CASE("a stride is evaluated once: what a decoder holds is, to the bit, what is done by hand") {
    const ModelPtr model = random_model(shape_of(3));
    SplitMix64 random{4};
    const TokenBuffer prompt = random_tokens(random, 70, 90);
    constexpr std::size_t stride = 8;
    constexpr std::size_t tokens = 5 * stride + 3;
    const auto check = [&](auto session, auto by_hand) {
        RandomRetriever retriever{20, 40, 90, 7};
        const Generation found =
            Decoder{session, retriever,
                    Policies{}.schedule(EveryNTokens{stride}).wrapper(MarkerTokens{3, 4}).reuse(KeepAndMoveText{})}
                .generate(prompt, options_of(tokens));
        TokenBuffer text = prompt;
        std::size_t passage_at = 0;
        std::size_t passage_tokens = 0;
        std::size_t evaluated = 0;
        TokenBuffer read{1};
        append(read, prompt);  // what is to be read before the next passage
        for (std::size_t i = 0; i < tokens; ++i) {
            std::span<const float> logits;
            if (i % stride == 0) {
                if (i > 0) by_hand.evict(passage_at, passage_tokens);
                RandomRetriever same{20, 40, 90, 7};
                const TokenBuffer passage = wrapped(same.retrieve(LastNTokens{}({.context = text}), 1)[0].tokens);
                passage_at = by_hand.size() + read.size();
                passage_tokens = passage.size();
                append(read, passage);
            }
            logits = by_hand.evaluate(read);
            evaluated += read.size();
            text.push_back(next_token(logits));
            read.assign(1, text.back());
        }
        CHECK(std::ranges::equal(found.tokens, TokenSpan{text}.subspan(prompt.size())));
        CHECK(found.stats.counts.evaluated == evaluated);
        CHECK(found.stats.counts.evaluated + found.stats.counts.reused == found.stats.counts.requested);
        CHECK(std::ranges::equal(session.tokens(), by_hand.tokens()));
        CHECK(session.plain_size() == by_hand.plain_size());
        CHECK(same_bits(session.evaluate(TokenBuffer{5}), by_hand.evaluate(TokenBuffer{5})));
    };
    for (const DType element : {DType::f32, DType::f16, DType::i8}) {
        check(Session{model, {.cache = element}}, Session{model, {.cache = element}});
        check(PagedSession{model, {.cache = element}}, Session{model, {.cache = element}});
    }
}

TEST_CASE("positions leave a cache in one block and one of pages with the same bits, and a fork stays as it was") {
    const ModelPtr model = random_model(shape_of(2));
    SplitMix64 random{14};
    const TokenBuffer tokens = random_tokens(random, 300, 90);
    for (const DType element : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
        for (const auto& range : {std::pair<std::size_t, std::size_t>{100, 150}, {0, 1}, {63, 65}, {250, 50}, {5, 200}}) {
            Session block{model, {.cache = element}};
            PagedSession pages{model, {.cache = element}};
            static_cast<void>(block.evaluate(tokens));
            static_cast<void>(pages.evaluate(tokens));
            Session block_before = block.fork();
            PagedSession pages_before = pages.fork();
            block.evict(range.first, range.second);
            pages.evict(range.first, range.second);
            const std::vector<float> moved = copy_of(block.evaluate(TokenBuffer{7, 8}));
            CHECK(same_bits(moved, pages.evaluate(TokenBuffer{7, 8})));
            const std::vector<float> before = copy_of(block_before.evaluate(TokenBuffer{7, 8}));
            CHECK(same_bits(before, pages_before.evaluate(TokenBuffer{7, 8})));
            CHECK_FALSE(same_bits(before, moved));
        }
    }
}

TEST_CASE("in one layer, text that moves is the text that a new evaluation gives, whatever the schedule and the layout") {
    const ModelPtr model = random_model(shape_of(1, 900));
    SplitMix64 random{8};
    const TokenBuffer prompt = random_tokens(random, 70, 90);
    const auto check = [&](const AnyLayout& layout, const AnySchedule& schedule, const AnyWrapper& wrapper, bool behind) {
        const auto write = [&](const AnyReuse& reuse, auto session) {
            RandomRetriever retriever{6, 30, 90, 7};
            return Decoder{session, retriever, AnyPolicies{}.schedule(schedule).wrapper(wrapper).layout(layout).reuse(reuse)}
                .generate(prompt, options_of(300, 2));
        };
        const SessionOptions exactly{.cache = DType::f32};  // so that a turned key is nearly the one evaluated there
        const Generation moved = write(AnyReuse{KeepAndMoveText{}}, Session{model, exactly});
        const Generation anew = write(AnyReuse{}, Session{model, exactly});
        CHECK(moved.tokens.size() == 300);
        CHECK(moved.tokens == anew.tokens);
        CHECK(moved.stats.counts.requested == anew.stats.counts.requested);
        CHECK(moved.stats.counts.evaluated + moved.stats.counts.reused == moved.stats.counts.requested);
        CHECK((moved.stats.counts.evaluated < anew.stats.counts.evaluated) == behind);
        CHECK(moved.stats.counts.evaluated <= anew.stats.counts.evaluated);
        CHECK(write(AnyReuse{KeepAndMoveText{}}, PagedSession{model, exactly}).tokens == moved.tokens);
        return anew.stats.counts.evaluated - moved.stats.counts.evaluated;
    };
    for (const AnySchedule& schedule : {AnySchedule{EveryNTokens{12}}, AnySchedule{Restless{}}}) {
        for (const AnyWrapper& wrapper : {AnyWrapper{MarkerTokens{3, 4}}, AnyWrapper{}}) {
            check(AnyLayout{AppendPassages{}}, schedule, wrapper, true);
            check(AnyLayout{AppendAndRepeat{5}}, schedule, wrapper, true);
            check(AnyLayout{Sticky{}}, schedule, wrapper, true);
            check(AnyLayout{PrependPassages{}}, schedule, wrapper, false);
            check(AnyLayout{PassagesAside{}}, schedule, wrapper, false);
        }
    }
    // All but the newest token of each stride is spared, at each retrieval but the first, unless the same passages are found again.
    const std::size_t spared =
        check(AnyLayout{AppendPassages{}}, AnySchedule{EveryNTokens{12}}, AnyWrapper{MarkerTokens{3, 4}}, true);
    CHECK(spared == 11 * 24);
    CHECK(check(AnyLayout{AppendPassages{}}, AnySchedule{EveryNTokens{1}}, AnyWrapper{MarkerTokens{3, 4}}, false) == 0);
}

TEST_CASE("the next generation begins from what is exact, and a window that rolls moves text, too") {
    const ModelPtr model = random_model(shape_of(2, 220));
    SplitMix64 random{9};
    const TokenBuffer prompt = random_tokens(random, 60, 90);
    RandomRetriever retriever{20, 30, 90, 7};
    Session session{model};
    Decoder decoder{session, retriever,
                    Policies{}.schedule(EveryNTokens{10}).reuse(KeepAndMoveText{}).overflow(KeepAndRotate{})};
    const Generation first = decoder.generate(prompt, options_of(60));
    TokenBuffer all = prompt;
    append(all, first.tokens);
    const Generation second = decoder.generate(all, options_of(300));
    CHECK(second.tokens.size() == 300);
    CHECK(second.stats.dropped > 0);
    CHECK(second.stats.counts.evaluated + second.stats.counts.reused == second.stats.counts.requested);
    Session fresh{model};
    CHECK(Decoder{fresh, retriever, Policies{}.schedule(EveryNTokens{10}).reuse(KeepAndMoveText{}).overflow(KeepAndRotate{})}
              .generate(all, options_of(300))
              .tokens == second.tokens);
}

TEST_CASE("in branches nothing moves: fused passages give what they give without it, to the bit and to the token") {
    const ModelPtr model = random_model(shape_of(2));
    SplitMix64 random{15};
    const TokenBuffer prompt = random_tokens(random, 40, 90);
    const auto write = [&](const auto& policies) {
        RandomRetriever retriever{20, 30, 90, 7};
        PagedSession session{model};
        Decoder decoder{session, retriever, policies.schedule(EveryNTokens{6}).fusion(WeightedMixture{})};
        return decoder.generate(prompt, options_of(40, 2));
    };
    const Generation kept = write(Policies{});
    const Generation moved = write(Policies{}.reuse(KeepAndMoveText{}));
    CHECK(kept.stats.branches.size() == 2);
    CHECK(moved.tokens == kept.tokens);
    CHECK(moved.stats.counts == kept.stats.counts);
}

TEST_CASE("plans: only what was written since the last one moves, and only to where the text goes on") {
    PlanScratch scratch;
    const TokenBuffer passage{50, 51, 52};
    const std::vector<Passage> found{{.tokens = passage}};
    const auto policies = Policies{}.wrapper(NoMarkers{}).reuse(KeepAndMoveText{});
    const auto plan = [&](TokenSpan held, TokenSpan context, std::size_t written, std::span<const Passage> passages) {
        return plan_context(policies, held, {{}, passages, context, {}, {}, written}, scratch);
    };
    const TokenBuffer held{1, 2, 3, 40, 41, 4, 5, 6};  // 40 and 41 are the last passage
    const ContextPlan usual = plan(held, TokenBuffer{1, 2, 3, 4, 5, 6, 7}, 3, found);
    CHECK(usual.moves());
    CHECK(usual.leaves_at == 3);
    CHECK(usual.leaves == 2);
    CHECK(usual.keep == 6);
    CHECK(usual.feed.size() == 4);
    CHECK(plan(held, TokenBuffer{1, 2, 3, 4, 5, 6}, 3, {}).keep == 5);            // the last token gives the logits
    CHECK(plan(held, TokenBuffer{1, 2, 3, 4, 9}, 3, found).keep == 4);            // two were taken back
    CHECK_FALSE(plan(held, TokenBuffer{1, 2, 3, 9}, 3, found).moves());           // all were
    CHECK_FALSE(plan(held, TokenBuffer{1, 2, 3, 4, 5, 6, 7}, 0, found).moves());  // of which nobody says that they were written
    CHECK_FALSE(plan(held, TokenBuffer{2, 3, 4, 5, 6, 7}, 3, found).moves());     // the text begins otherwise
    // The passage begins as the text goes on, with one token and with two.
    const ContextPlan alike = plan(TokenBuffer{1, 2, 3, 4, 41, 4, 5, 6}, TokenBuffer{1, 2, 3, 4, 5, 6, 7}, 3, found);
    CHECK(alike.leaves_at == 3);
    CHECK(alike.keep == 6);
    CHECK(plan(TokenBuffer{1, 2, 3, 4, 5, 4, 5, 6}, TokenBuffer{1, 2, 3, 4, 5, 6, 7}, 3, found).keep == 6);
    // Passages in front of the text, of which the second begins with what was written: nothing of that is meant.
    const std::vector<Passage> other{{.tokens = held}};
    CHECK_FALSE(plan_context(policies.layout(PrependPassages{}), TokenBuffer{40, 41, 1, 2, 3, 4, 5, 1, 2},
                             {{}, other, TokenBuffer{1, 2, 3, 4, 5, 1, 2, 7}, {}, {}, 2}, scratch)
                    .moves());
}

TEST_CASE("perplexity: strides that move cost what strides without passages cost, and the passages") {
    TextStream text;
    RankedPassages passages;
    SplitMix64 random{11};
    text.add("doc", "", random_tokens(random, 500, 58));
    for (std::size_t p = 0; p < 50; ++p)
        passages.add("p" + std::to_string(p), "", random_tokens(random, 4 + random.below(12), 58));
    StrideOptions where{.init = 200, .stride = 8, .strides = 24, .context = 60, .hold = 64, .passages = 2};
    const RetrievedStrides strides = retrieve_strides(text, passages, LastNTokens{16}, where);
    where.passages = 0;
    const RetrievedStrides bare = retrieve_strides(text, passages, LastNTokens{16}, where);
    const ModelPtr model = random_model({.layers = 1, .vocab = 60, .window = 400});
    const auto measure = [&](const AnyReuse& reuse, const RetrievedStrides& over, const AnyLayout& layout) {
        Session session{model, {.cache = DType::f32}};
        return retrieval_perplexity(session, AnyPolicies{}.layout(layout).reuse(reuse), text.tokens(), over);
    };
    const AnyLayout append{AppendPassages{}};
    const RetrievalPerplexity exact = measure(AnyReuse{}, strides, append);
    const RetrievalPerplexity moved = measure(AnyReuse{KeepAndMoveText{}}, strides, append);
    const RetrievalPerplexity none = measure(AnyReuse{}, bare, append);
    CHECK(moved.nats == doctest::Approx(exact.nats).epsilon(1e-5));
    CHECK(moved.counts.evaluated == none.counts.evaluated + strides.tokens().size());
    CHECK(moved.counts.requested == exact.counts.requested);
    CHECK(exact.counts.evaluated == moved.counts.evaluated + 7 * 21);  // 3 windows of 8 strides
    CHECK(moved.counts.evaluated + moved.counts.reused == moved.counts.requested);
    const AnyLayout repeat{AppendAndRepeat{5}};
    CHECK(measure(AnyReuse{KeepAndMoveText{}}, strides, repeat).nats ==
          doctest::Approx(measure(AnyReuse{}, strides, repeat).nats).epsilon(1e-5));
    const AnyLayout aside{PassagesAside{}};
    CHECK(measure(AnyReuse{KeepAndMoveText{}}, strides, aside).nats == measure(AnyReuse{}, strides, aside).nats);
}

TEST_CASE("text does not move in models of learned positions: that is refused in words") {
    RandomModel learned = shape_of(2, 300);
    learned.family = Family::gpt2;
    Session session{random_model(learned)};
    SplitMix64 random{11};
    const TokenBuffer prompt = random_tokens(random, 20, 90);
    RandomRetriever retriever{5, 5, 90, 1};
    check_error(ErrorCode::contract, "a reuse policy that moves text to other positions needs a model of rotary positions",
                [&] {
                    Decoder{session, retriever, Policies{}.reuse(KeepAndMoveText{})}.generate(prompt, options_of(5));
                });
    TextStream text;
    RankedPassages passages;
    text.add("doc", "", random_tokens(random, 100, 90));
    passages.add("p", "", prompt);
    const RetrievedStrides strides =
        retrieve_strides(text, passages, LastNTokens{16}, {.init = 50, .stride = 8, .context = 20});
    check_error(ErrorCode::contract, "a reuse policy that moves text to other positions needs a model of rotary positions",
                [&] { retrieval_perplexity(session, Policies{}.reuse(KeepAndMoveText{}), text.tokens(), strides); });
    CHECK(moves_text_of(AnyReuse{KeepAndMoveText{}}));
    CHECK_FALSE(moves_text_of(AnyReuse{}));
    CHECK_FALSE(moves_text_of(RecomputeAll{}));
}

}  // namespace test_decoder_moved_text

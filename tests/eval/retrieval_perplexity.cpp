// Perplexity with retrieval against the definition, computed token by token; and what never changes a digit.
#include "flashback/eval/retrieval_perplexity.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"
#include "support/ranked_passages.hpp"
#include "support/thread_ranks.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

namespace test_eval_retrieval_perplexity {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 60;
constexpr TokenId left = 58;
constexpr TokenId right = 59;

struct World {
    TextStream text;
    RankedPassages passages;

    explicit World(std::size_t documents = 40) {
        SplitMix64 random{11};
        for (std::size_t d = 0; d < documents; ++d)
            text.add("doc" + std::to_string(d), "", random_tokens(random, 10 + random.below(30), vocab - 2));
        for (std::size_t p = 0; p < 50; ++p)
            passages.add("p" + std::to_string(p), "", random_tokens(random, 4 + random.below(12), vocab - 2));
    }
    RetrievedStrides strides(const StrideOptions& options) const {
        return retrieve_strides(text, passages, LastNTokens{16}, options);
    }
};

enum class Order { none, append, prepend };

/// -ln p of each token of each stride, by the definition: everything in front of it is given to a model that knows nothing else.
std::vector<std::vector<double>> direct(const World& world, const StrideOptions& o, Order order, bool markers, bool replace,
                                        TokenSpan head) {
    std::vector<std::vector<double>> strides;
    const TokenSpan text = world.text.tokens();
    for (std::size_t at = o.init; at + o.stride <= text.size() && (o.strides == 0 || strides.size() < o.strides);
         at += o.stride) {
        TokenBuffer wrapped;
        if (order != Order::none) {
            const std::vector<std::size_t> ranking = world.passages.ranking(text.subspan(at - 16, 16));
            for (std::size_t k = 0; k < o.passages; ++k) {
                const TokenSpan passage = world.passages.tokens(ranking[k]);
                append(wrapped, passage.first(std::min(passage.size(), o.passage_tokens)));
            }
        }
        const std::size_t length = o.context - (replace ? wrapped.size() : 0);
        if (markers && !wrapped.empty()) {
            wrapped.insert(wrapped.begin(), left);
            wrapped.push_back(right);
        }
        TokenBuffer before{head.begin(), head.end()};
        if (order == Order::prepend) append(before, wrapped);
        append(before, text.subspan(at - length, length));
        if (order == Order::append) append(before, wrapped);
        std::vector<double>& nats = strides.emplace_back();
        for (std::size_t i = 0; i < o.stride; ++i) {
            std::vector<float> logits(vocab);
            null_logits(before, logits);
            double total = 0;
            for (std::size_t id = 0; id < vocab - (markers ? 2 : 0); ++id) total += std::exp(static_cast<double>(logits[id]));
            nats.push_back(std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(text[at + i])]));
            before.push_back(text[at + i]);
        }
    }
    return strides;
}

void check_same(const RetrievalPerplexity& found, const std::vector<std::vector<double>>& strides, std::size_t stride) {
    std::vector<double> means;
    std::vector<double> places(stride);
    for (const std::vector<double>& nats : strides) {
        means.push_back(std::accumulate(nats.begin(), nats.end(), 0.0) / static_cast<double>(stride));
        for (std::size_t j = 0; j < stride; ++j) places[j] += nats[j] / static_cast<double>(strides.size());
    }
    REQUIRE(found.place_nats.size() == stride);
    for (std::size_t j = 0; j < stride; ++j) CHECK(found.place_nats[j] == doctest::Approx(places[j]).epsilon(1e-9));
    REQUIRE(found.stride_nats.size() == means.size());
    CHECK(found.strides == means.size());
    CHECK(found.tokens == means.size() * stride);
    double mean = 0;
    for (std::size_t i = 0; i < means.size(); ++i) {
        CHECK(found.stride_nats[i] == doctest::Approx(means[i]).epsilon(1e-9));
        mean += means[i] / static_cast<double>(means.size());
    }
    double squares = 0;
    for (const double one : means) squares += (one - mean) * (one - mean);
    const auto n = static_cast<double>(means.size());
    CHECK(found.nats == doctest::Approx(mean).epsilon(1e-9));
    CHECK(found.standard_error == doctest::Approx(std::sqrt(squares / (n - 1) / n)).epsilon(1e-9));
    CHECK(found.perplexity() == doctest::Approx(std::exp(mean)).epsilon(1e-9));
    const std::size_t words = found.tokens / 2;
    const double per_word = mean * static_cast<double>(found.tokens) / static_cast<double>(words);
    CHECK(found.perplexity_per(words) == doctest::Approx(std::exp(per_word)).epsilon(1e-9));
    CHECK(found.counts.evaluated + found.counts.reused == found.counts.requested);
}

}  // namespace

TEST_CASE("Every layout, with and without markers, is what the definition says") {
    const World world;
    NullModel model{vocab};
    const TokenBuffer head{5, 6};
    for (const std::size_t k : {1u, 3u}) {
        for (const std::size_t stride : {1u, 5u}) {
            CAPTURE(k);
            CAPTURE(stride);
            const StrideOptions o{
                .init = 80, .stride = stride, .strides = 70, .context = 60, .passages = k, .passage_tokens = 9};
            const RetrievedStrides strides = world.strides(o);
            StrideOptions closed = o;
            closed.passages = 0;
            const auto measure = [&](const auto& policies, const RetrievedStrides& which, bool replace = false) {
                return retrieval_perplexity(model, policies, world.text.tokens(), which,
                                            {.head = head, .passages_replace_text = replace});
            };
            const auto plain = Policies{}.fusion(ConcatenateJoined{});
            const auto prepend = plain.layout(PrependPassages{});
            const MarkerTokens markers{left, right};
            check_same(measure(plain, world.strides(closed)), direct(world, closed, Order::none, false, false, head), stride);
            check_same(measure(plain, strides), direct(world, o, Order::append, false, false, head), stride);
            check_same(measure(prepend, strides), direct(world, o, Order::prepend, false, false, head), stride);
            check_same(measure(plain.wrapper(markers), strides), direct(world, o, Order::append, true, false, head), stride);
            check_same(measure(prepend.wrapper(markers), strides), direct(world, o, Order::prepend, true, false, head), stride);
            check_same(measure(prepend, strides, true), direct(world, o, Order::prepend, false, true, head), stride);

            const RetrievalPerplexity found = measure(plain, strides);
            CHECK(found.retrievals == 70);
            CHECK(found.passages == 70 * k);
            CHECK(measure(plain, world.strides(closed)).retrievals == 0);
        }
    }
}

TEST_CASE("Neither reuse nor the number of models changes a digit, and what is reused is counted") {
    const World world;
    const auto weights = random_model({.layers = 2, .vocab = vocab, .window = 96, .seed = 4, .scale = 2});
    ThreadPool pool{3};
    for (const std::size_t hold : {0u, 32u}) {
        CAPTURE(hold);
        const RetrievedStrides strides =
            world.strides({.init = 80, .stride = 4, .strides = 100, .context = 40, .hold = hold, .passage_tokens = 9});
        for (const bool append : {true, false}) {
            CAPTURE(append);
            const AnyPolicies policies = AnyPolicies{}
                                             .wrapper(AnyWrapper{MarkerTokens{left, right}})
                                             .layout(append ? AnyLayout{AppendPassages{}} : AnyLayout{PrependPassages{}});
            Session session{weights};
            const RetrievalPerplexity kept = retrieval_perplexity(session, policies, world.text.tokens(), strides);
            const RetrievalPerplexity anew =
                retrieval_perplexity(session, policies.reuse(AnyReuse{RecomputeAll{}}), world.text.tokens(), strides);
            std::vector<Session> three;
            for (int i = 0; i < 3; ++i) three.emplace_back(weights);
            std::vector<std::size_t> progress;
            const RetrievalPerplexity shared = retrieval_perplexity(
                std::span{three}, policies, world.text.tokens(), strides,
                {.executor = pool, .progress = [&](std::size_t done, std::size_t) { progress.push_back(done); }});
            CHECK(anew.stride_nats == kept.stride_nats);
            CHECK(shared.stride_nats == kept.stride_nats);
            CHECK(anew.nats == kept.nats);
            CHECK(anew.standard_error == kept.standard_error);
            CHECK(shared.counts == kept.counts);
            CHECK(progress == std::vector<std::size_t>{96, 100});
            for (const std::size_t count : {2u, 3u, 5u}) {  // four runs: the fifth rank has none
                for (const RetrievalPerplexity& one : on_ranks(count, [&](RanksRef ranks) {
                         Session its{weights};
                         return retrieval_perplexity(its, policies, world.text.tokens(), strides, {.ranks = ranks});
                     })) {
                    CHECK(one.stride_nats == kept.stride_nats);
                    CHECK(one.place_nats == kept.place_nats);
                    CHECK(one.standard_error == kept.standard_error);
                    CHECK(one.counts == kept.counts);
                    CHECK(one.passages == kept.passages);
                    CHECK(one.copied == kept.copied);
                }
            }

            CHECK(anew.counts.reused == 0);
            // Each stride discards the one before it: head, context, marked passage and 3 of the stride.
            std::size_t discarded = 0;
            for (std::size_t i = 0; i + 1 < 100; ++i) {
                if (i % 32 != 31) discarded += 1 + strides[i].context + strides[i].passages.size() + 2 + 3;
            }
            CHECK(anew.counts.discarded == discarded);
            CHECK(kept.counts.discarded == discarded - kept.counts.reused);
            CHECK(anew.counts.requested == kept.counts.requested);
            CHECK(kept.counts.evaluated + kept.counts.reused == kept.counts.requested);
            if (append && hold > 0) {
                // Of 8 strides with one start, 7 find the context of the one before; runs of 32 begin with nothing.
                std::size_t reused = 0;
                for (std::size_t i = 0; i < 100; ++i) {
                    if (i % 32 == 0) continue;
                    reused += 1 + (i % 8 == 0 ? 0 : strides[i - 1].context);
                }
                CHECK(kept.counts.reused >= reused);  // a passage may begin as the text goes on
                CHECK(kept.counts.reused < reused + 20);
            } else if (append) {
                CHECK(kept.counts.reused >= 96);  // BOS
                CHECK(kept.counts.reused < 110);
            }
        }
    }
}

TEST_CASE("A model that gives the logits of one token only is measured the same, token by token") {
    const World world;
    const auto weights = random_model({.layers = 1, .vocab = vocab, .window = 96, .seed = 4, .scale = 2});
    struct Minimal {
        Session session;
        std::span<const float> evaluate(TokenSpan tokens) { return session.evaluate(tokens); }
        void truncate(std::size_t n) { session.truncate(n); }
        std::size_t size() const { return session.size(); }
        std::size_t vocab_size() const { return session.vocab_size(); }
    };
    static_assert(LanguageModel<Minimal> && !ScoringModel<Minimal>);
    const RetrievedStrides strides =
        world.strides({.init = 80, .stride = 4, .strides = 20, .context = 40, .passage_tokens = 9});
    Session session{weights};
    Minimal minimal{Session{weights}};
    const TokenBuffer head{session.head().begin(), session.head().end()};
    const RetrievalPerplexity a = retrieval_perplexity(session, Policies{}, world.text.tokens(), strides);
    const RetrievalPerplexity b = retrieval_perplexity(minimal, Policies{}, world.text.tokens(), strides, {.head = head});
    CHECK(a.stride_nats == b.stride_nats);
    CHECK(a.counts == b.counts);
}

TEST_CASE("Masked tokens have no probability, whoever names them") {
    const World world;
    const RetrievedStrides strides = world.strides({.init = 80, .stride = 5, .strides = 5, .context = 40, .passage_tokens = 9});
    NullModel model{vocab};
    const TokenBuffer ids{left, right};
    // The same tokens as the markers, named by the caller: the softmax is over the same columns, and contexts differ by markers.
    const auto closed = world.strides({.init = 80, .stride = 5, .strides = 5, .context = 40, .passages = 0});
    const RetrievalPerplexity by_caller = retrieval_perplexity(model, Policies{}, world.text.tokens(), closed, {.masked = ids});
    const RetrievalPerplexity by_wrapper = retrieval_perplexity(
        model, Policies{}.fusion(ConcatenateJoined{}).wrapper(MarkerTokens{left, right}), world.text.tokens(), closed);
    const RetrievalPerplexity open = retrieval_perplexity(model, Policies{}, world.text.tokens(), closed);
    CHECK(by_caller.stride_nats == by_wrapper.stride_nats);
    for (std::size_t i = 0; i < open.strides; ++i) CHECK(open.stride_nats[i] > by_caller.stride_nats[i]);
    // Logits of masked tokens do not matter, not even if they are no numbers.
    model.change_logits = [](std::size_t, std::span<float> logits) {
        logits[left] = std::numeric_limits<float>::quiet_NaN();
        logits[right] = 1e30f;
    };
    CHECK(retrieval_perplexity(model, Policies{}, world.text.tokens(), closed, {.masked = ids}).stride_nats ==
          by_caller.stride_nats);
    check_error(ErrorCode::logits, "the logits in front of token 80 of the text give it",
                [&] { static_cast<void>(retrieval_perplexity(model, Policies{}, world.text.tokens(), closed)); });
}

TEST_CASE("Runs over the same strides are compared stride by stride") {
    const World world;
    const RetrievedStrides strides =
        world.strides({.init = 80, .stride = 5, .strides = 30, .context = 40, .passage_tokens = 9});
    NullModel model{vocab};
    const auto a = retrieval_perplexity(model, Policies{}, world.text.tokens(), strides);
    const auto b = retrieval_perplexity(model, Policies{}.layout(PrependPassages{}), world.text.tokens(), strides);
    const StrideDifference difference = stride_difference(a, b);
    CHECK(difference.nats == doctest::Approx(a.nats - b.nats).epsilon(1e-9));
    CHECK(difference.standard_error > 0);
    CHECK(stride_difference(a, a).standard_error == 0);
    RetrievalPerplexity other = b;
    other.stride_nats.pop_back();
    check_error(ErrorCode::contract, "runs over 30 and 29 strides", [&] { static_cast<void>(stride_difference(a, other)); });
}

TEST_CASE("An answer that stands in the passages is counted") {
    const World world;
    RankedPassages leak;
    const TokenSpan tokens = world.text.tokens();
    leak.add("leak", "", {tokens.begin() + 70, tokens.begin() + 100});
    const auto nothing = [](const Passage&, const StrideSource&) { return false; };
    const RetrievedStrides strides =
        retrieve_strides(world.text, leak, LastNTokens{},
                         {.init = 80, .stride = 5, .strides = 30, .context = 40, .passage_tokens = 30}, nothing);
    NullModel model{vocab};
    CHECK(retrieval_perplexity(model, Policies{}, tokens, strides).copied == 4);  // 80 to 99
}

TEST_CASE("What makes no sense is refused in words, before anything is evaluated") {
    const World world;
    const RetrievedStrides strides = world.strides({.init = 80, .stride = 5, .strides = 9, .context = 40, .passage_tokens = 9});
    FullNullModel model{vocab, 50};
    const TokenSpan text = world.text.tokens();
    const auto refused = [&](ErrorCode code, const char* words, TokenSpan of, const RetrievedStrides& which,
                             const RetrievalPerplexityOptions& options = {}) {
        check_error(code, words, [&] { static_cast<void>(retrieval_perplexity(model, Policies{}, of, which, options)); });
        CHECK(model.evaluations == 0);
    };
    refused(ErrorCode::contract, "a perplexity of 0 strides with 1 models", text, {});
    const RetrievedStrides short_ones = world.strides({.init = 80, .stride = 5, .context = 20, .passage_tokens = 9});
    refused(ErrorCode::contract, "expected strides of this text", text.first(100), short_ones);
    refused(ErrorCode::window, "but the window of the model holds 50", text, strides);
    const TokenBuffer masked{text[81]};
    refused(ErrorCode::contract, "of the text is", text,
            world.strides({.init = 80, .stride = 5, .context = 20, .passage_tokens = 9}), {.masked = masked});
    check_error(ErrorCode::contract, "with 0 models",
                [&] { static_cast<void>(retrieval_perplexity(std::span<FullNullModel>{}, Policies{}, text, strides)); });
    FullNullModel small{20, 1000};
    check_error(ErrorCode::contract, "is not in the vocabulary of 20 tokens",
                [&] { static_cast<void>(retrieval_perplexity(small, Policies{}, text, strides)); });
    // It fits to the token: the last one of a stride is not read.
    std::size_t longest = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) longest = std::max(longest, strides[i].passages.size());
    const std::size_t head = FullNullModel{vocab}.head().size();
    FullNullModel fits{vocab, head + 40 + longest + 4};
    CHECK(retrieval_perplexity(fits, Policies{}, text, strides).strides == 9);
    FullNullModel lacks{vocab, head + 40 + longest + 3};
    check_error(ErrorCode::window, "needs", [&] { static_cast<void>(retrieval_perplexity(lacks, Policies{}, text, strides)); });
}

TEST_CASE("What a model throws comes through, whichever model it was") {
    const World world;
    const RetrievedStrides strides =
        world.strides({.init = 80, .stride = 5, .strides = 90, .context = 40, .passage_tokens = 9});
    std::vector<NullModel> models(3, NullModel{vocab});
    models[1].fail_at = 7;
    ThreadPool pool{2};
    CHECK_THROWS_AS(static_cast<void>(
                        retrieval_perplexity(std::span{models}, Policies{}, world.text.tokens(), strides, {.executor = pool})),
                    NullModelError);
}

TEST_CASE("Passages aside: each stride as a session is driven by hand, whatever is reused") {
    const World world;
    const auto model = random_model({.vocab = vocab, .window = 200});
    const TokenSpan text = world.text.tokens();
    for (const AsideOptions aside : {AsideOptions{.seeing = 1}, AsideOptions{.seeing = 7, .joined = true}}) {
        const std::size_t seeing = aside.seeing;
        const StrideOptions o{
            .init = 80, .stride = 5, .strides = 40, .context = 40, .hold = 20, .passages = 2, .passage_tokens = 9};
        const RetrievedStrides strides = world.strides(o);
        Session session{model};
        const auto policies = Policies{}.layout(PassagesAside{aside});
        const RetrievalPerplexity found = retrieval_perplexity(session, policies, text, strides);
        for (std::size_t i = 0; i < strides.size(); ++i) {
            const RetrievedStride stride = strides[i];
            Session by_hand{model};
            by_hand.evaluate(by_hand.head());
            const TokenSpan context = text.subspan(stride.at - stride.context, stride.context);
            by_hand.evaluate(context.first(context.size() - seeing));
            if (aside.joined) {
                by_hand.see({by_hand.block(stride.passages, 1, 1)});
            } else {
                by_hand.see({by_hand.block(stride.passage(0), 1, 1), by_hand.block(stride.passage(1), 1, 1)});
            }
            std::span<const float> logits = by_hand.evaluate(context.last(seeing));
            double nats = 0;
            for (std::size_t j = 0; j < o.stride; ++j) {
                double total = 0;
                for (const float logit : logits) total += std::exp(static_cast<double>(logit));
                const TokenId token = text[stride.at + j];
                nats += std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
                logits = by_hand.evaluate({&token, 1});
            }
            CHECK(found.stride_nats[i] == doctest::Approx(nats / static_cast<double>(o.stride)).epsilon(1e-9));
        }
        const RetrievalPerplexity anew = retrieval_perplexity(session, policies.reuse(RecomputeAll{}), text, strides);
        CHECK(anew.stride_nats == found.stride_nats);
        CHECK(anew.counts.reused == 0);
        CHECK(found.counts.reused > 0);
    }
}

TEST_CASE("Passages aside need a model that holds blocks") {
    const World world;
    NullModel model{vocab};
    const RetrievedStrides strides = world.strides({.init = 80, .stride = 5, .strides = 3, .context = 40});
    check_error(ErrorCode::contract, "passages beside the text need a model that holds blocks (BlockModel)", [&] {
        static_cast<void>(retrieval_perplexity(model, Policies{}.layout(PassagesAside{}), world.text.tokens(), strides));
    });
}

}  // namespace test_eval_retrieval_perplexity

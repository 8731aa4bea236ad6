// What a policy learns of attention: the weights of the position that gave the logits, and where the text stands in them.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/attentive_model.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <functional>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_attention {

using namespace flashback;
using namespace flashback_test;

namespace {

/// It can forget positions in the middle.
class Turning : public Attentive {
public:
    using Attentive::Attentive;

    static bool can_evict() { return true; }
    void evict(std::size_t first, std::size_t count) {
        const Tokens all{tokens().begin(), tokens().end()};
        truncate(first);
        if (first + count < all.size()) evaluate(TokenSpan{all}.subspan(first + count));
    }
};
static_assert(RotatingModel<Turning>);

/// Answers with passages of few different tokens, often those of the answers before.
struct FewPassages {
    std::vector<Tokens> passages;
    SplitMix64 random;
    std::vector<Passage> found = {};

    std::span<const Passage> retrieve(const Query&, std::size_t k) {
        found.clear();
        for (std::size_t i = 0; i < k; ++i)
            if (random.below(4) > 0) found.push_back({"id", "title", "text", passages[random.below(passages.size())], 0.5f});
        return found;
    }
};

FewPassages few_passages(std::uint64_t seed, std::size_t vocab) {
    FewPassages few{{}, SplitMix64{seed}};
    for (std::size_t i = 0; i < 4; ++i) few.passages.push_back(random_tokens(few.random, few.random.below(5), vocab));
    return few;
}

/// Retrieves every four tokens, and checks at every step what it is told of attention.
struct Watch {
    Attentive* model;
    std::size_t seen = 0;
    std::size_t rewinds = 0;

    bool wants_attention() const { return true; }
    void reset() { seen = rewinds = 0; }
    Decision operator()(const StepView& step) {
        if (step.logits.empty()) {
            CHECK(step.attention == nullptr);
            return step.retrievals == 0;
        }
        REQUIRE(step.attention != nullptr);
        const std::span<const std::size_t> places = step.attention->places;
        REQUIRE(places.size() == step.context.size());
        CHECK(places.back() == StepAttention::nowhere);
        const AttentionWeights weights = step.attention->weights(2);
        CHECK(step.attention->layers == 3);
        REQUIRE(weights.positions() == model->size());
        std::size_t least = 0;
        for (std::size_t i = 0; i + 1 < places.size(); ++i) {
            CAPTURE(i);
            if (i >= sinks && i < sinks + step.dropped) {
                CHECK(places[i] == StepAttention::nowhere);
                continue;
            }
            REQUIRE(places[i] >= least);
            REQUIRE(places[i] < model->size());
            least = places[i] + 1;
            CHECK(model->tokens()[places[i]] == step.context[i]);
            CHECK(weights.head(1)[places[i]] == static_cast<float>(step.context[i]) + 200.0f);
        }
        ++seen;
        if (step.generated() == 9 && rewinds++ == 0) return Decision::retrieve(3);
        return step.since_retrieval >= 4;
    }

    std::size_t sinks = 0;
};

template <class Model, class PoliciesT>
Generation run(Model& model, PoliciesT policies, std::size_t max_tokens = 40) {
    FixedRetriever retriever{{{5, 6, 7}, {8, 9, 10, 11}}};
    Decoder decoder{model, retriever, policies};
    const Generation done = decoder.generate(random_prompt(9), {.max_tokens = max_tokens, .passages = 2, .ignore_eos = true});
    return done;
}

/// Where a text is found in what a layout put down.
std::vector<std::size_t> found_in(const Tokens& text, const Tokens& planned, std::size_t head,
                                  const std::vector<Tokens>& passages, std::size_t sinks = 0, std::size_t dropped = 0) {
    detail::TextPlaces places;
    const std::vector<TokenSpan> spans(passages.begin(), passages.end());
    places.find({text, sinks, dropped}, {planned, head, spans});
    return {places.view().begin(), places.view().end()};
}

constexpr std::size_t nowhere = StepAttention::nowhere;

}  // namespace

TEST_CASE("places: the text is told from passages that look like it") {
    using Places = std::vector<std::size_t>;
    const Tokens text{5, 6, 7};
    CHECK(found_in(text, {1, 5, 6, 7}, 1, {}) == Places{1, 2, 3});
    CHECK(found_in(text, {1, 5, 6, 7, 8, 9}, 1, {{8, 9}}) == Places{1, 2, 3});
    CHECK(found_in(text, {1, 8, 9, 5, 6, 7}, 1, {{8, 9}}) == Places{3, 4, 5});
    // A passage that is found in front begins with the text, is the beginning of it, or shares its first token.
    CHECK(found_in(text, {1, 5, 6, 7, 8, 5, 6, 7}, 1, {{5, 6, 7, 8}}) == Places{5, 6, 7});
    CHECK(found_in(text, {1, 5, 6, 5, 6, 7}, 1, {{5, 6}}) == Places{3, 4, 5});
    CHECK(found_in(text, {1, 5, 9, 5, 6, 7}, 1, {{5, 9}}) == Places{3, 4, 5});
    // One that stands behind the text is its end, or all of it.
    CHECK(found_in(text, {1, 5, 6, 7, 6, 7}, 1, {{6, 7}}) == Places{1, 2, 3});
    CHECK(found_in(text, {1, 5, 6, 7, 5, 6, 7}, 1, {{5, 6, 7}}) == Places{1, 2, 3});
    // A text that quotes a passage, in pieces around others, in any order, some of them empty, one found twice.
    CHECK(found_in({5, 8, 9, 6, 7}, {1, 5, 8, 9, 8, 9, 6, 4, 7, 8, 9}, 1, {{8, 9}, {}, {4}, {8, 9}}) == Places{1, 2, 3, 6, 8});
    CHECK(found_in(text, {5, 2, 3, 6, 4, 7}, 0, {{4}, {2, 3}}) == Places{0, 3, 5});
    // Text that passages could be read in, over a border.
    CHECK(found_in({4, 5}, {4, 5, 6, 7, 5, 6}, 0, {{6, 7}, {5, 6}}) == Places{0, 1});
    // A repetition is no text.
    CHECK(found_in(text, {1, 5, 6, 7, 8, 9, 6, 7}, 1, {{8, 9}}) == Places{1, 2, 3});
    // Sinks and the rest; what was dropped is nowhere.
    CHECK(found_in({5, 6, 7, 8, 9}, {1, 5, 4, 8, 9}, 1, {{4}}, 1, 2) == Places{1, nowhere, nowhere, 3, 4});
    // Layouts of others, which write something between.
    CHECK(found_in(text, {1, 5, 6, 7, 3, 8, 9}, 1, {{8, 9}}) == Places{1, 2, 3});
    CHECK(found_in(text, {1, 8, 9, 3, 5, 6, 7}, 1, {{8, 9}}) == Places{4, 5, 6});
    CHECK(found_in(text, {1, 5, 3, 6, 7, 8, 9}, 1, {{8, 9}}) == Places{nowhere, nowhere, nowhere});
    CHECK(found_in(text, {5}, 3, {{8, 9}}) == Places{nowhere, nowhere, nowhere});
    CHECK(found_in({}, {1, 8}, 1, {{8}}).empty());
}

TEST_CASE("places: a text and passages of two tokens, some of them found again, taken back, dropped and turned") {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        const std::size_t vocab = seed % 2 == 0 ? 3 : 6;
        const auto watched = [&](auto policies, std::size_t window, std::size_t sinks = 0) {
            Turning model{vocab, window};
            FewPassages retriever = few_passages(seed, vocab);
            Watch watch{&model};
            watch.sinks = sinks;
            Decoder decoder{model, retriever, policies.schedule(watch)};
            const Generation done = decoder.generate(random_tokens(retriever.random, 9, vocab),
                                                     {.max_tokens = 60, .passages = 3, .ignore_eos = true});
            CHECK(done.tokens.size() == 60);
        };
        const auto layouts = [&](auto policies, std::size_t window, std::size_t sinks = 0) {
            watched(policies, window, sinks);
            watched(policies.layout(PrependPassages{}), window, sinks);
            watched(policies.layout(Sticky{}), window, sinks);
            watched(policies.layout(AppendAndRepeat{3}), window, sinks);
        };
        layouts(Policies{}, 1000);
        layouts(Policies{}.wrapper(MarkerTokens{1, 2}), 1000);
        layouts(Policies{}.overflow(DropOldest{}), 40);
        layouts(Policies{}.overflow(KeepAndRotate{}), 40);
        layouts(Policies{}.overflow(AttentionSinks{4, 5}), 40, 4);
        layouts(Policies{}.overflow(ShortenPassages{4, DropOldest{}}), 40);
    }
}

TEST_CASE("attention: places hold the tokens of the text, whatever the layout") {
    Attentive model{20};
    const auto watched = [&](auto policies) {
        model.truncate(0);
        const Generation done = run(model, policies.schedule(Watch{&model}));
        CHECK(done.tokens.size() == 40);
        CHECK(model.asked > 40);
    };
    watched(Policies{});
    watched(Policies{}.layout(PrependPassages{}));
    watched(Policies{}.layout(Sticky{}));
    watched(Policies{}.layout(AppendAndRepeat{3}));
}

TEST_CASE("attention: tokens that a full window dropped are nowhere") {
    Attentive model{20, 32};
    Watch watch{&model};
    run(model, Policies{}.overflow(DropOldest{}).schedule(watch), 80);
    CHECK(model.asked > 80);
}

TEST_CASE("attention: it is asked for only if a policy wants it, and then the model must give it") {
    Attentive model{20};
    run(model, Policies{});
    CHECK(model.asked == 0);
    NullModel plain{20};
    FixedRetriever retriever{{{5}}};
    Decoder decoder{plain, retriever, Policies{}.schedule(Watch{&model})};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(random_prompt(4)); }).find("AttentiveModel") !=
          std::string::npos);
    static_assert(!Policies{}.wants_attention());
    Watch watch{&model};
    CHECK(Policies{}.schedule(any_of(Never{}, std::ref(watch))).wants_attention());
    CHECK(AnyPolicies{}.schedule(AnySchedule{at_most(2, watch)}).wants_attention());
}

TEST_CASE("attention: rank and evaluated tokens of a step") {
    Attentive model{20};
    std::size_t before = 0;
    const auto counts = [&](const StepView& step) {
        CHECK(step.rank() == 0);  // greedy
        CHECK(step.evaluated >= before);
        before = step.evaluated;
        return false;
    };
    const Generation done = run(model, Policies{}.schedule(counts));
    CHECK(before + 1 == done.stats.counts.evaluated);  // the last token was taken after it was asked
    CHECK(flashback::rank(std::vector<float>{1, 3, 2}, 0) == 2);
}

}  // namespace test_decoder_attention

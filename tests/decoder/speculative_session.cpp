// Guesses over a transformer: the surprisals are those of a plain run to the bit, whatever the layout and the fusion.
#include "decoder/speculative.hpp"
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "support/random_model.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_speculative_session {

using namespace flashback;
using namespace flashback_test;

namespace {

const std::shared_ptr<const Transformer>& tiny() {
    static const std::shared_ptr<const Transformer> model =
        random_model({.layers = 2, .width = 16, .head_dim = 4, .hidden = 24, .vocab = 30, .window = 96});
    return model;
}
Session session() { return Session{tiny()}; }

/// An oracle that sometimes is wrong, with the scores that will be found.
struct Exact : Shelf {
    using Shelf::Shelf;
    std::vector<OwnedPassage> guessed = {};
    std::vector<Passage> speculate(const Query& query, std::size_t k) {
        if (searches == 0) return {};
        const std::size_t before = searches;
        guessed = detail_of(retrieve(query, k));
        searches = before;
        if (query.tokens.back() % 3 == 0) guessed.front().score += 0.25f;
        std::vector<Passage> passages;
        for (const OwnedPassage& passage : guessed) passages.push_back(passage.view());
        return passages;
    }
    static std::vector<OwnedPassage> detail_of(const std::vector<Passage>& passages) {
        std::vector<OwnedPassage> copies;
        for (const Passage& passage : passages) copies.emplace_back(passage);
        return copies;
    }
};

}  // namespace

TEST_CASE("every layout, in a window that fills up: the text and its surprisals are those of a plain run, to the bit") {
    Sums all;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        CAPTURE(seed);
        const GuessedWorld world{.seed = seed, .stride = 1 + seed % 4, .passages = 1 + seed % 2};
        for (const AnyLayout& layout : {AnyLayout{AppendPassages{}}, AnyLayout{PrependPassages{}}, AnyLayout{Sticky{}},
                                        AnyLayout{PassagesAside{}}, AnyLayout{PassagesAside{{.seeing = 3}}}}) {
            const AnyPolicies policies = AnyPolicies{}
                                             .schedule(AnySchedule{EveryNTokens{1 + seed % 3}})
                                             .layout(layout)
                                             .overflow(AnyOverflow{DropOldest{0.5}})
                                             .sampler(AnySampler{TruncatedSampling{{.seed = seed}}});
            AnyRetriever seen{SeenPassages{BatchShelf{seed}, &Shelf::near}};
            all = all + world.check_with(policies, session, seen);
        }
    }
    CHECK(all.matched > 100);
    CHECK(all.rolled_back > 100);
}

TEST_CASE("passages that are fused in branches: the text is that of a plain run, to the bit") {
    Sums weighed, mean;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        CAPTURE(seed);
        const GuessedWorld world{.seed = seed, .stride = 1 + seed % 4, .passages = 2, .max_tokens = 24};
        const auto check = [&](const auto& fusion, const AnyLayout& layout) {
            const AnyPolicies policies = AnyPolicies{}
                                             .schedule(AnySchedule{EveryNTokens{2}})
                                             .layout(layout)
                                             .fusion(AnyFusion{fusion})
                                             .sampler(AnySampler{TruncatedSampling{{.seed = seed}}});
            AnyRetriever exact{Exact{seed}};
            return world.check_with(policies, session, exact);
        };
        mean = mean + check(ContrastWithout{0.5}, AnyLayout{});
        for (const AnyLayout& layout :
             {AnyLayout{AppendPassages{}}, AnyLayout{PrependPassages{}}, AnyLayout{PassagesAside{}}}) {
            weighed = weighed + check(WeightedMixture{}, layout) + check(RagSequence{}, layout);
            check(MeanOfLogits{}, layout);
            check(FirstPassage{}, layout);
        }
    }
    CHECK(weighed.rolled_back > 50);
    CHECK(weighed.matched > 50);
}

TEST_CASE("where going back would not be exact, nothing is guessed") {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const GuessedWorld world{.seed = seed, .stride = 3};
        const AnyPolicies policies = AnyPolicies{}.schedule(AnySchedule{EveryNTokens{2}});
        for (const AnyPolicies& kept :
             {policies.overflow(AnyOverflow{KeepAndRotate{0.5}}), policies.reuse(AnyReuse{KeepAndMoveText{}}),
              policies.layout(AnyLayout{PassagesAside{{.seeing = 2, .exact = false}}})}) {
            // A second generation begins with what the first left, so each has a model of its own.
            Shelf plain_shelf{seed};
            AnyRetriever seen{SeenPassages{Shelf{seed}, &Shelf::near}};
            Session model = session(), plain = session();
            SpeculativeDecoder decoder{model, seen, kept};
            const Generation text = decoder.generate(world.prompt(), world.options());
            check_the_same(text, Decoder{plain, plain_shelf, kept}.generate(world.prompt(), world.options()));
            CHECK(text.stats.speculation == Speculation{});
            CHECK(text.stats.retrievals > 3);
        }
    }
}

}  // namespace test_decoder_speculative_session

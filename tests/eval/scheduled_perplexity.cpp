// Perplexity under a schedule: that of strides if the schedule is a stride, the definition if it is not, and what changes no digit.
#include "flashback/eval/scheduled_perplexity.hpp"

#include "flashback/core/any_retriever.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"
#include "support/ranked_passages.hpp"
#include "support/thread_ranks.hpp"

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_eval_scheduled_perplexity {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 60;
constexpr TokenId left = 58;
constexpr TokenId right = 59;

struct World {
    TextStream text;
    RankedPassages passages;

    explicit World(std::size_t ids = vocab - 2) {
        SplitMix64 random{11};
        for (std::size_t d = 0; d < 40; ++d)
            text.add("doc" + std::to_string(d), "", random_tokens(random, 10 + random.below(30), ids));
        for (std::size_t p = 0; p < 50; ++p)
            passages.add("p" + std::to_string(p), "", random_tokens(random, 4 + random.below(12), ids));
    }
};

const StrideOptions where{
    .init = 80, .stride = 4, .strides = 44, .context = 40, .hold = 16, .passages = 2, .passage_tokens = 9};

/// Retrieves at each of these numbers of generated tokens, and takes tokens back if it is so old for the first time.
struct AtPlaces {
    std::vector<std::size_t> retrieve = {};
    std::vector<std::pair<std::size_t, std::size_t>> take_back = {};  ///< at which length, and how many
    std::size_t taken = 0;

    Decision operator()(const StepView& step) {
        if (taken < take_back.size() && step.generated() == take_back[taken].first)
            return Decision::retrieve(take_back[taken++].second);
        return Decision{std::ranges::find(retrieve, step.generated()) != retrieve.end()};
    }
    Decision at_end(const StepView& step, StopReason /*reason*/) { return (*this)(step); }
    void reset() { taken = 0; }
};

/// Gets the same numbers from strides and from a schedule that retrieves at each of them.
template <class Model, class P>
void check_as_strides(Model& model, const P& policies, const World& world, const StrideOptions& o) {
    const RetrievedStrides strides = retrieve_strides(world.text, world.passages, LastNTokens{16}, o);
    const RetrievalPerplexity by_stride = retrieval_perplexity(model, policies, world.text.tokens(), strides);
    const ScheduledPerplexity found =
        scheduled_perplexity(model, policies.schedule(EveryNTokens{o.stride}), world.text, world.passages, LastNTokens{16}, o);
    CHECK(found.stride_nats == by_stride.stride_nats);
    CHECK(found.place_nats == by_stride.place_nats);
    CHECK(found.nats == by_stride.nats);
    CHECK(found.first_nats == by_stride.nats);
    if (found.strides > 1) CHECK(found.standard_error == by_stride.standard_error);
    CHECK(found.strides == by_stride.strides);
    CHECK(found.tokens == by_stride.tokens);
    CHECK(found.retrievals == by_stride.retrievals);
    CHECK(found.passages == by_stride.passages);
    CHECK(found.copied == by_stride.copied);
    CHECK(found.rewinds == 0);
    CHECK(found.windows == (strides.size() * o.stride + o.hold - 1) / o.hold);
    CHECK(found.counts.evaluated + found.counts.reused == found.counts.requested);
    CHECK(stride_difference(found, by_stride).nats == 0);
}

/// -ln p of the tokens of a window by the definition: everything in front of each is given to a model that knows nothing else.
struct ByHand {
    const World& world;
    StrideOptions o;
    std::size_t at;
    TokenBuffer passages = {};
    std::size_t read = 0;  ///< where the passages stand: after how many of the window's tokens

    void retrieve(std::size_t place) {
        passages.clear();
        read = place;
        const std::vector<std::size_t> ranking = world.passages.ranking(world.text.tokens().subspan(at + place - 16, 16));
        for (std::size_t k = 0; k < o.passages; ++k) {
            const TokenSpan passage = world.passages.tokens(ranking[k]);
            append(passages, passage.first(std::min(passage.size(), o.passage_tokens)));
        }
    }
    double nats(std::size_t place) const {
        const TokenSpan text = world.text.tokens();
        TokenBuffer before;
        append(before, text.subspan(at - o.context, o.context + read));
        append(before, passages);
        append(before, text.subspan(at + read, place - read));
        std::vector<float> logits(vocab);
        null_logits(before, logits);
        double total = 0;
        for (const float logit : logits) total += std::exp(static_cast<double>(logit));
        return std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(text[at + place])]);
    }
};

const auto joined = Policies{}.fusion(ConcatenateJoined{});

}  // namespace

TEST_CASE("A schedule of every stride gives the bits of the strides, whatever the layout") {
    const World world;
    NullModel null{vocab};
    check_as_strides(null, Policies{}, world, where);
    const auto weights = random_model({.layers = 2, .vocab = vocab, .window = 96, .seed = 4, .scale = 2});
    Session session{weights};
    const MarkerTokens markers{left, right};
    for (const std::size_t count : {44u, 43u, 4u, 1u}) {  // whole windows; the last is shorter; one; less than one
        CAPTURE(count);
        StrideOptions o = where;
        o.strides = count;
        check_as_strides(session, Policies{}, world, o);
        check_as_strides(session, Policies{}.wrapper(markers), world, o);
        check_as_strides(session, Policies{}.layout(PrependPassages{}).wrapper(markers), world, o);
        check_as_strides(session, Policies{}.layout(PassagesAside{{.seeing = 1}}), world, o);
        check_as_strides(session, Policies{}.layout(PassagesAside{{.seeing = 7, .joined = true}}), world, o);
        check_as_strides(session, AnyPolicies{}.layout(AnyLayout{PrependPassages{}}), world, o);
        check_as_strides(session, Policies{}.fusion(MeanOfLogits{}), world, o);
        check_as_strides(session, Policies{}.reuse(RecomputeAll{}), world, o);
    }
}

TEST_CASE("The default model: a schedule of every stride gives the bits of the strides") {
    Session session{load_model(FLASHBACK_TEST_MODEL)};
    World world{session.vocab_size()};
    const StrideOptions o{.init = 150, .stride = 16, .strides = 12, .context = 100, .hold = 64, .passage_tokens = 12};
    check_as_strides(session, Policies{}, world, o);
    check_as_strides(session, Policies{}.layout(PrependPassages{}), world, o);
    check_as_strides(session, Policies{}.layout(PassagesAside{{.seeing = 16}}), world, o);
}

TEST_CASE("Retrievals at any place are what the definition says") {
    const World world;
    NullModel model{vocab};
    const AtPlaces places{.retrieve = {3, 4, 11}};
    const ScheduledPerplexity found =
        scheduled_perplexity(model, joined.schedule(places), world.text, world.passages, LastNTokens{16}, where);
    CHECK(found.windows == 11);
    CHECK(found.strides == 44);
    CHECK(found.retrievals == 33);
    CHECK(found.passages == 66);
    double mean = 0;
    for (std::size_t w = 0; w < 11; ++w) {
        ByHand window{world, where, 80 + 16 * w};
        for (std::size_t stride = 0; stride < 4; ++stride) {
            double sum = 0;
            for (std::size_t place = 4 * stride; place < 4 * stride + 4; ++place) {
                if (place == 3 || place == 4 || place == 11) window.retrieve(place);
                sum += window.nats(place);
            }
            CHECK(found.stride_nats[4 * w + stride] == doctest::Approx(sum / 4).epsilon(1e-9));
            mean += sum / 176;
        }
    }
    CHECK(found.nats == doctest::Approx(mean).epsilon(1e-9));
    CHECK(found.perplexity() == doctest::Approx(std::exp(mean)).epsilon(1e-9));
    // Head, context and 3 tokens; then the passages, or the text that was behind them, at each place; and a token at a time.
    CHECK(found.counts.evaluated + found.counts.reused == found.counts.requested);
    CHECK(found.counts.evaluated == model.evaluated);
}

TEST_CASE("A token that is taken back counts as it was predicted last, and first beside it") {
    const World world;
    NullModel model{vocab};
    // After 10 tokens 6 of them go, and at the end of the text 3.
    const AtPlaces places{.take_back = {{10, 6}, {16, 3}}};
    StrideOptions o = where;
    o.strides = 4;
    const ScheduledPerplexity found =
        scheduled_perplexity(model, joined.schedule(places), world.text, world.passages, LastNTokens{16}, o);
    CHECK(found.windows == 1);
    CHECK(found.retrievals == 2);
    CHECK(found.rewinds == 2);
    CHECK(found.rewound == 9);
    ByHand without{world, o, 80};
    ByHand after_4{world, o, 80};
    ByHand after_13{world, o, 80};
    after_4.retrieve(4);
    after_13.retrieve(13);
    std::vector<double> first;
    std::vector<double> last;
    for (std::size_t place = 0; place < 16; ++place) {
        first.push_back(place < 10 ? without.nats(place) : after_4.nats(place));
        last.push_back(place < 4 ? without.nats(place) : place < 13 ? after_4.nats(place) : after_13.nats(place));
    }
    const auto mean = [](const std::vector<double>& all, std::size_t begin, std::size_t count) {
        const auto from = all.begin() + static_cast<std::ptrdiff_t>(begin);
        return std::accumulate(from, from + static_cast<std::ptrdiff_t>(count), 0.0) / static_cast<double>(count);
    };
    CHECK(found.nats == doctest::Approx(mean(last, 0, 16)).epsilon(1e-9));
    CHECK(found.first_nats == doctest::Approx(mean(first, 0, 16)).epsilon(1e-9));
    for (std::size_t i = 0; i < 4; ++i) CHECK(found.stride_nats[i] == doctest::Approx(mean(last, 4 * i, 4)).epsilon(1e-9));
    CHECK(std::abs(found.nats - found.first_nats) > 1e-6);
}

TEST_CASE("A schedule sees the model's distribution at the true text, and a query nothing of what is taken back") {
    const World world;
    NullModel model{vocab};
    const TokenSpan text = world.text.tokens();
    StrideOptions o = where;
    o.strides = 4;
    o.passages = 1;
    std::vector<double> seen;
    struct Looks {
        std::vector<double>* seen;
        std::size_t looks = 0;
        Decision operator()(const StepView& step) {
            if (step.generated() > 0) seen->push_back(step.surprisal());
            if (looks++ == 10) return Decision::retrieve(7);
            return false;
        }
        void reset() { looks = 0; }
        static bool wants_surprisals() { return true; }
    };
    std::size_t queries = 0;
    const auto query = [&](const StepView& step) {
        ++queries;
        CHECK(step.context.size() == 43);
        CHECK(std::ranges::equal(step.context, text.subspan(40, 43)));
        CHECK(step.rewind == 0);
        CHECK(step.draft().empty());
        CHECK(step.logits.empty());
        CHECK(step.attention == nullptr);
        CHECK(step.surprisals.size() == 3);
        CHECK(step.since_retrieval == 3);
        return TokenBuffer(step.context.end() - 5, step.context.end());
    };
    const ScheduledPerplexity found =
        scheduled_perplexity(model, Policies{}.schedule(Looks{&seen}), world.text, world.passages, query, o);
    CHECK(queries == 1);
    CHECK(found.rewound == 7);
    REQUIRE(seen.size() == 10 + 12);  // the last token is predicted, and the schedule has no at_end
    ByHand without{world, o, 80};
    for (std::size_t place = 0; place < 10; ++place) CHECK(seen[place] == doctest::Approx(without.nats(place)).epsilon(1e-9));
}

TEST_CASE("Neither the number of models nor reuse changes a digit") {
    const World world;
    const auto weights = random_model({.layers = 2, .vocab = vocab, .window = 120, .seed = 4, .scale = 2});
    ThreadPool pool{3};
    struct Doubts {  // takes 2 tokens back when it doubts, but not twice at one place
        std::size_t until = 0;
        Decision operator()(const StepView& step) {
            if (step.generated() < std::max<std::size_t>(until, 2) || step.entropy() < 2.8) return false;
            until = step.generated() + 1;
            return Decision::retrieve(2);
        }
        void reset() { until = 0; }
    };
    for (const bool aside : {false, true}) {
        CAPTURE(aside);
        const AnyPolicies policies = AnyPolicies{}
                                         .schedule(AnySchedule{Doubts{}})
                                         .layout(aside ? AnyLayout{PassagesAside{{.seeing = 4}}} : AnyLayout{AppendPassages{}});
        Session session{weights};
        const auto alone = scheduled_perplexity(session, policies, world.text, world.passages, LastNTokens{16}, where);
        CHECK(alone.rewinds > 5);
        CHECK(alone.rewound == 2 * alone.rewinds);
        CHECK(alone.retrievals == alone.rewinds);
        std::vector<Session> three;
        for (int i = 0; i < 3; ++i) three.emplace_back(weights);
        std::vector<std::size_t> progress;
        const auto shared = scheduled_perplexity(
            std::span{three}, policies, world.text, world.passages, LastNTokens{16}, where,
            {.executor = pool, .progress = [&](std::size_t done, std::size_t) { progress.push_back(done); }});
        CHECK(shared.stride_nats == alone.stride_nats);
        CHECK(shared.nats == alone.nats);
        CHECK(shared.first_nats == alone.first_nats);
        CHECK(shared.standard_error == alone.standard_error);
        CHECK(shared.counts == alone.counts);
        CHECK(shared.rewound == alone.rewound);
        CHECK(shared.retrievals == alone.retrievals);
        CHECK(progress == std::vector<std::size_t>{12, 24, 36, 44});
        for (const ScheduledPerplexity& one : on_ranks(3, [&](RanksRef ranks) {
                 Session its{weights};
                 std::vector<std::size_t> strides_done;
                 auto its_part = scheduled_perplexity(
                     its, policies, world.text, world.passages, LastNTokens{16}, where,
                     {.ranks = ranks, .progress = [&](std::size_t done, std::size_t) { strides_done.push_back(done); }});
                 std::vector<std::size_t> of_all{12, 24, 36, 44};  // as if the others had read as many of the 11 windows
                 if (ranks.rank() == 2) of_all.pop_back();
                 CHECK(strides_done == of_all);
                 return its_part;
             })) {
            CHECK(one.stride_nats == alone.stride_nats);
            CHECK(one.first_nats == alone.first_nats);
            CHECK(one.counts == alone.counts);
            CHECK(one.rewinds == alone.rewinds);
            CHECK(one.rewound == alone.rewound);
            CHECK(one.retrievals == alone.retrievals);
            CHECK(one.passages == alone.passages);
            CHECK(one.copied == alone.copied);
        }

        const auto anew = scheduled_perplexity(session, policies.reuse(AnyReuse{RecomputeAll{}}), world.text, world.passages,
                                               LastNTokens{16}, where);
        CHECK(anew.stride_nats == alone.stride_nats);
        CHECK(anew.counts.requested == alone.counts.requested);
        CHECK(anew.counts.evaluated > alone.counts.evaluated);
        const auto again = scheduled_perplexity(session, policies, world.text, world.passages, LastNTokens{16}, where);
        CHECK(again.stride_nats == alone.stride_nats);
        CHECK(again.counts == alone.counts);
    }
}

TEST_CASE("Never retrieves nothing, and an end of a text does not end a window") {
    const World world;
    FullNullModel model{vocab};  // token 2 ends a text
    const auto found =
        scheduled_perplexity(model, Policies{}.schedule(Never{}), world.text, world.passages, LastNTokens{16}, where);
    CHECK(std::ranges::count(world.text.tokens().subspan(80, 176), 2) > 0);
    CHECK(found.tokens == 176);
    CHECK(found.retrievals == 0);
    CHECK(found.copied == 0);
    CHECK(found.counts.evaluated == 11 * (1 + 40 + 15));
    CHECK(found.counts.discarded == 0);
    StrideOptions closed = where;
    closed.passages = 0;
    const auto none = scheduled_perplexity(model, Policies{}, world.text, world.passages, LastNTokens{16}, closed);
    CHECK(none.retrievals == 0);
    CHECK(none.stride_nats == found.stride_nats);
}

TEST_CASE("No passage comes from the window's own documents, however many are asked for") {
    World world;
    const TokenSpan text = world.text.tokens();
    RankedPassages leak;
    for (int i = 0; i < 40; ++i) leak.add("leak" + std::to_string(i), "", {text.begin() + 70, text.begin() + 100});
    leak.add("other", "", {5, 6, 7});
    StrideOptions o = where;
    o.strides = 1;
    o.passages = 1;
    o.passage_tokens = 30;
    NullModel model{vocab};
    std::vector<std::string> seen;
    const auto measure = [&](const auto& forbidden) {
        return scheduled_perplexity(model, Policies{}.schedule(Once{}), world.text, leak, LastNTokens{16}, o, {}, forbidden);
    };
    const auto honest = measure(FromSource{});
    CHECK(honest.passages == 1);
    CHECK(honest.copied == 0);
    const auto given_away = measure([](const Passage& passage, const StrideSource&) { return passage.id == "other"; });
    CHECK(given_away.passages == 1);
    CHECK(given_away.copied == 1);
    // A document that only a later token of the window belongs to is forbidden from the start.
    const std::string later = world.text.documents_of(80, 80 + 40).back().id;
    REQUIRE(later != world.text.documents_of(80, 84).back().id);
    RankedPassages own;
    own.add(later, "", {5, 6, 7});
    o.hold = 40;
    const auto first_stride = scheduled_perplexity(model, Policies{}, world.text, own, LastNTokens{16}, o);
    CHECK(first_stride.passages == 1);
    o.strides = 10;
    CHECK(scheduled_perplexity(model, Policies{}, world.text, own, LastNTokens{16}, o).passages == 0);
}

TEST_CASE("A hint to prefetch goes through, as deep as the search that follows") {
    const World world;
    struct Hinted {
        const RankedPassages* passages;
        std::vector<std::pair<std::size_t, bool>> asked = {};  // how many, and whether it was a hint

        std::vector<Passage> retrieve(const Query& query, std::size_t k) {
            asked.emplace_back(k, false);
            return passages->retrieve(query, k);
        }
        void prefetch(const Query& /*query*/, std::size_t k) { asked.emplace_back(k, true); }
        static bool ready() { return true; }
    };
    Hinted retriever{&world.passages};
    NullModel model{vocab};
    StrideOptions o = where;
    o.strides = 4;
    const auto found =
        scheduled_perplexity(model, Policies{}.schedule(StaleEveryN{8}), world.text, retriever, LastNTokens{16}, o);
    CHECK(found.retrievals == 2);
    CHECK(retriever.asked == std::vector<std::pair<std::size_t, bool>>{{8, false}, {8, true}, {8, false}, {8, true}});
}

TEST_CASE("What makes no sense is refused in words, before anything is evaluated") {
    const World world;
    FullNullModel model{vocab, 40 + 1 + 15 + 18};  // to the token: the last one is not read
    const auto measure = [&](const StrideOptions& o, const RetrievalPerplexityOptions& options = {}) {
        return scheduled_perplexity(model, Policies{}, world.text, world.passages, LastNTokens{16}, o, options);
    };
    CHECK(measure(where).windows == 11);
    FullNullModel lacks{vocab, 40 + 1 + 15 + 17};
    check_error(
        ErrorCode::window,
        "a window of 16 tokens behind a context of 40 needs up to 74 positions with head and 2 passages of 9 tokens, but that "
        "of the model holds 73",
        [&] {
            static_cast<void>(scheduled_perplexity(lacks, Policies{}, world.text, world.passages, LastNTokens{16}, where));
        });
    CHECK(lacks.evaluations == 0);
    const std::size_t before = model.evaluations;
    StrideOptions sliding = where;
    sliding.hold = 0;
    check_error(ErrorCode::contract, "a schedule decides within windows of `hold` tokens, found 0, expected a multiple of 4",
                [&] { static_cast<void>(measure(sliding)); });
    StrideOptions drawn = where;
    drawn.most_context = 44;
    check_error(ErrorCode::contract, "windows behind random contexts of 40 to 44 tokens, expected contexts of one length",
                [&] { static_cast<void>(measure(drawn)); });
    StrideOptions far = where;
    far.init = 50;
    check_error(ErrorCode::contract, "contexts have up to 52 tokens", [&] { static_cast<void>(measure(far)); });
    check_error(ErrorCode::contract, "passages replace text",
                [&] { static_cast<void>(measure(where, {.passages_replace_text = true})); });
    const TokenBuffer masked{world.text.tokens()[85]};
    check_error(ErrorCode::contract, "which is masked", [&] { static_cast<void>(measure(where, {.masked = masked})); });
    check_error(ErrorCode::contract, "a perplexity with 0 models", [&] {
        static_cast<void>(
            scheduled_perplexity(std::span<FullNullModel>{}, Policies{}, world.text, world.passages, LastNTokens{16}, where));
    });
    AnyRetriever one_at_a_time{std::cref(world.passages)};
    std::vector<FullNullModel> two(2, FullNullModel{vocab});
    check_error(ErrorCode::contract, "no more if a const retriever cannot be asked", [&] {
        static_cast<void>(scheduled_perplexity(std::span{two}, Policies{}, world.text, one_at_a_time, LastNTokens{16}, where));
    });
    CHECK(model.evaluations == before);
}

TEST_CASE("A schedule that does not read all of a text is refused, and what a model throws comes through") {
    const World world;
    NullModel model{vocab};
    const auto measure = [&](const auto& schedule) {
        static_cast<void>(
            scheduled_perplexity(model, Policies{}.schedule(schedule), world.text, world.passages, LastNTokens{16}, where));
    };
    check_error(ErrorCode::contract,
                "tokens 80 to 96 of the text were read up to token 85 only, where it ended by schedule, expected a schedule "
                "that reads all of them",
                [&] { measure([](const StepView& step) { return step.generated() == 5 ? Decision::stop() : false; }); });
    check_error(ErrorCode::contract, "where it ended by max_rewinds",
                [&] { measure([](const StepView& step) { return step.generated() == 5 ? Decision::retrieve(1) : false; }); });
    std::vector<NullModel> models(3, NullModel{vocab});
    models[1].fail_at = 7;
    ThreadPool pool{2};
    CHECK_THROWS_AS(static_cast<void>(scheduled_perplexity(std::span{models}, Policies{}, world.text, world.passages,
                                                           LastNTokens{16}, where, {.executor = pool})),
                    NullModelError);
}

}  // namespace test_eval_scheduled_perplexity

// How a generation with guesses ends, how long it took, and what happens around it: as with a plain decoder.
#include "decoder/helpers.hpp"
#include "decoder/speculative.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/budget.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/retrieval/accumulated.hpp"
#include "flashback/retrieval/prefetching.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "support/null_model.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_speculative_ends {

using namespace flashback;
using namespace flashback_test;

namespace {

const GenerateOptions options{.max_tokens = 24, .ignore_eos = true, .surprisals = true};

/// Searches only when the answer is taken, so every wait is one of take_batch; each lasts some milliseconds.
struct Slow : Shelf {
    using Shelf::Shelf;
    std::vector<OwnedQuery> asked = {};
    std::size_t depth = 0;
    std::vector<std::vector<Passage>> answers = {};
    void begin_batch(std::span<const Query> queries, std::size_t k) {
        asked.clear();
        for (const Query& query : queries) asked.emplace_back().assign(query);
        depth = k;
    }
    std::span<const std::vector<Passage>> take_batch() {
        std::this_thread::sleep_for(std::chrono::milliseconds{4});
        answers.clear();
        for (const OwnedQuery& query : asked) answers.push_back(Shelf::retrieve(query.view(), depth));
        return answers;
    }
    std::vector<Passage> speculate(const Query& query, std::size_t k) {
        if (searches == 0) return {};
        const std::size_t before = searches;
        std::vector<Passage> guessed = Shelf::retrieve(query, k);
        searches = before;
        if (errs && query.tokens.back() % 3 == 0) std::ranges::reverse(guessed = Shelf::retrieve(query, 7));
        return guessed;
    }
    bool errs = false;
};

void check_times(const Generation& text) {
    const Seconds& seconds = text.stats.seconds;
    CHECK(seconds.retrieve >= 0.004);
    CHECK(seconds.retrieve + seconds.prefill + seconds.decode <= seconds.total * (1 + 1e-9));
}

}  // namespace

TEST_CASE("each second counts once, and until the last guess was checked: the parts are at most the total") {
    for (const bool errs : {false, true}) {
        for (std::size_t end = 1; end <= 12; ++end) {
            CAPTURE(end);
            for (const int how : {0, 1, 2}) {  // runs out, is cancelled, throws
                Slow slow{3};
                slow.errs = errs;
                FullNullModel model;
                SpeculativeDecoder decoder{model, slow, Policies{}.schedule(EveryNTokens{1}), {.stride = 2}};
                std::size_t calls = 0;
                const auto on_token = [&](TokenId) {
                    if (++calls == end && how == 2) throw std::runtime_error("enough");
                    return calls != end || how == 0;
                };
                try {
                    check_times(
                        decoder.generate(random_prompt(4), {.max_tokens = how == 0 ? end : 20, .ignore_eos = true}, on_token));
                } catch (const std::runtime_error&) {
                    check_times(decoder.partial());
                }
            }
        }
    }
}

TEST_CASE("what was evaluated behind the token that cancels is discarded") {
    Slow right{3};
    FullNullModel model;
    SpeculativeDecoder decoder{model, right, Policies{}.schedule(EveryNTokens{2}), {.stride = 2}};
    std::size_t calls = 0;
    // 1 and 2 are handed out at once; 3 to 6, of two guesses, when these are checked: 4, 5 and 6 were written in vain.
    const Generation text = decoder.generate(random_prompt(4), options, [&](TokenId) { return ++calls < 3; });
    CHECK(text.tokens.size() == 3);
    CHECK(text.stats.speculation.matched == 2);
    CHECK(text.stats.speculation.discarded > 3);
    CHECK(text.stats.speculation.discarded < 3 + 8);  // and the passages of the second guess
    CHECK(text.stats.counts.evaluated == model.evaluated);
}

TEST_CASE("rounds without steps make no long strides, and the step that ends a text counts") {
    OptimalStride stride;
    stride.round(1, false, 10);
    CHECK(stride.stride() == 1);
    double time = 0;
    const auto clock = [&] { return time; };
    struct Right : Shelf {
        using Shelf::Shelf;
        double* time = nullptr;
        std::vector<Passage> retrieve(const Query& query, std::size_t k) {
            *time += 10;
            return Shelf::retrieve(query, k);
        }
        std::vector<Passage> speculate(const Query& query, std::size_t k) { return Shelf::retrieve(query, k); }
    };
    struct Timed : FullNullModel {
        double* time = nullptr;
        std::span<const float> evaluate(TokenSpan tokens) {
            *time += 1;
            return FullNullModel::evaluate(tokens);
        }
    };
    Right right{1};
    right.time = &time;
    Timed model;
    model.time = &time;
    SpeculativeDecoder decoder{model, right, Policies{}.schedule(EveryNTokens{4}), {.clock = clock}};
    decoder.generate(random_prompt(4), {.max_tokens = 4, .ignore_eos = true});
    // One guess, which matched: g 0.6. A step of 4, a search of 10. For k = 2 0.784 * 18 = 14.112 > 0.64 * 22 = 14.08; for k = 3
    // 0.8704 * 22 = 19.149 < 0.784 * 26 = 20.384.
    CHECK(decoder.stride() == 3);
}

TEST_CASE("the policies stay where they are, whatever is gone back to") {
    Shelf shelf{4};
    SeenPassages seen{std::ref(shelf), &Shelf::near};
    FullNullModel model;
    const auto two = [](const StepView& step) { return step.retrievals == 0 || step.since_retrieval >= 2; };  // not assignable
    SpeculativeDecoder decoder{model, seen, Policies{}.schedule(two), {.stride = 3}};
    const auto* const policies = &decoder.policies();
    const Generation text =
        decoder.generate(random_prompt(6), options, [&](TokenId) { CHECK(&decoder.policies() == policies); });
    CHECK(text.stats.speculation.rolled_back > 0);
    CHECK(&decoder.policies() == policies);
}

TEST_CASE("a cancellation at a stop string is none, as with a plain decoder") {
    struct AtEnd {
        bool puts_off = false;
        Decision operator()(const StepView& step) const { return step.retrievals == 0 || step.since_retrieval >= 2; }
        Decision at_end(const StepView& step, StopReason) const {
            return puts_off && step.generated() % 2 == 1 ? Decision::retrieve(1) : Decision::go_on();
        }
    };
    std::size_t at_string = 0;
    for (const bool puts_off : {false, true}) {
        for (std::size_t stop = 1; stop < 12; ++stop) {
            for (std::size_t cancel = 1; cancel < 14; ++cancel) {
                CAPTURE(stop);
                CAPTURE(cancel);
                const auto policies = Policies{}.schedule(AtEnd{puts_off}).stopping([stop](const StepView& step) {
                    return step.generated() == stop;
                });
                Shelf shelf{stop}, plain_shelf{stop};
                SeenPassages seen{std::ref(shelf), &Shelf::near};
                FullNullModel plain_model, model;
                Decoder plain{plain_model, plain_shelf, policies};
                SpeculativeDecoder decoder{model, seen, policies, {.stride = 3}};
                const auto run = [&](auto& which) {
                    std::size_t calls = 0;
                    return which.generate(random_prompt(6), options, [&](TokenId) { return ++calls != cancel; });
                };
                const Generation expected = run(plain);
                check_the_same(run(decoder), expected);
                if (expected.stop == StopReason::stop_string) ++at_string;
            }
        }
    }
    CHECK(at_string > 50);
}

TEST_CASE("policies that look at what was evaluated are not guessed with, wherever they are") {
    const auto budget = within_budget(3, EveryNTokens{2});
    CHECK(Policies{}.schedule(budget).looks_at_evaluated());
    CHECK(Policies{}.schedule(any_of(EveryNTokens{5}, at_most(9, budget))).looks_at_evaluated());
    CHECK(AnyPolicies{}.schedule(AnySchedule{budget}).looks_at_evaluated());
    CHECK_FALSE(Policies{}.looks_at_evaluated());
    CHECK_FALSE(AnyPolicies{}.schedule(AnySchedule{EveryNTokens{2}}).looks_at_evaluated());
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const GuessedWorld world{.seed = seed};
        CHECK(world.check(AnyPolicies{}.schedule(AnySchedule{budget})) == Speculation{});
    }
}

TEST_CASE("retrievers that remember queries say so, through what holds them") {
    const auto remembers = []<class R>(const R&) { return R::remembers_queries; };
    Shelf shelf{1};
    CHECK(remembers(SeenPassages{Accumulated{std::ref(shelf)}, &Shelf::near}));
    CHECK(remembers(SeenPassages{stale(std::ref(shelf)), &Shelf::near}));
    CHECK_FALSE(remembers(SeenPassages{Prefetching{std::ref(shelf)}, &Shelf::near}));
    CHECK_FALSE(remembers(SeenPassages{std::ref(shelf), &Shelf::near}));
}

TEST_CASE("a retriever that fails at queries that a wrong guess led to does not fail, in a batch either") {
    const auto policies = Policies{}.schedule(EveryNTokens{2});
    std::size_t refused = 0;
    struct Picky : BatchShelf {
        using BatchShelf::BatchShelf;
        const Generation* text = nullptr;
        std::size_t* refused = nullptr;
        std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
            for (const Query& query : queries) {
                const bool known = std::ranges::any_of(text->retrievals, [&](const Retrieval& retrieval) {
                    return std::ranges::equal(retrieval.query_tokens, query.tokens);
                });
                if (!known) {
                    ++*refused;
                    throw std::runtime_error("nobody asks that");
                }
            }
            return BatchShelf::retrieve_batch(queries, k);
        }
    };
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        CAPTURE(seed);
        Shelf plain_shelf{seed};
        FullNullModel plain, model;
        const Generation expected = Decoder{plain, plain_shelf, policies}.generate(random_prompt(6), options);
        Picky picky{seed};
        picky.text = &expected;
        picky.refused = &refused;
        SeenPassages seen{std::ref(picky), &Shelf::near};
        SpeculativeDecoder decoder{model, seen, policies, {.stride = 3}};
        check_the_same(decoder.generate(random_prompt(6), options), expected);
    }
    CHECK(refused > 10);
}

TEST_CASE("a stop request keeps what was handed out, and waits for no search") {
    struct Stops : FullNullModel {
        std::stop_source* source = nullptr;
        std::size_t at = 0;
        std::span<const float> evaluate(TokenSpan tokens) {
            if (evaluations + 1 == at) source->request_stop();
            return FullNullModel::evaluate(tokens);
        }
    };
    const auto policies = Policies{}.schedule(EveryNTokens{2});
    Shelf plain_shelf{2};
    FullNullModel plain;
    const Generation whole = Decoder{plain, plain_shelf, policies}.generate(random_prompt(6), options);
    for (std::size_t at = 1; at < 30; ++at) {
        CAPTURE(at);
        Shelf shelf{2};
        SeenPassages seen{std::ref(shelf), &Shelf::near};
        std::stop_source source;
        Stops model;
        model.source = &source;
        model.at = at;
        SpeculativeDecoder decoder{model, seen, policies, {.stride = 3}};
        GenerateOptions stopped = options;
        stopped.stop = source.get_token();
        Told told;
        std::size_t searches = 0;
        const Generation text = decoder.generate(random_prompt(6), stopped, [&](TokenId token) {
            told(token);
            searches = shelf.searches;
        });
        if (!source.stop_requested()) continue;
        CHECK(text.stop == StopReason::cancelled);
        CHECK(told.calls == text.tokens);
        CHECK(text.tokens == first_of(whole.tokens, text.tokens.size()));
        if (!text.tokens.empty()) CHECK(shelf.searches == searches);
        CHECK(text.stats.counts.evaluated == model.evaluated);
        check_the_same(decoder.generate(random_prompt(6), options), whole);
    }
}

}  // namespace test_decoder_speculative_ends

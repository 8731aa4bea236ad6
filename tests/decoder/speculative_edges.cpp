// What goes wrong after a wrong guess did not happen; what would have gone wrong anyhow does.
#include "decoder/helpers.hpp"
#include "decoder/speculative.hpp"
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "support/null_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_speculative_edges {

using namespace flashback;
using namespace flashback_test;

namespace {

const auto every_3 = Policies{}.schedule(EveryNTokens{3}).layout(PrependPassages{});
const GenerateOptions options{.max_tokens = 24, .ignore_eos = true, .surprisals = true};

bool starts_with(const Tokens& whole, const Tokens& part) {
    return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

/// Guesses right, whatever is asked.
template <class R>
struct Oracle {
    R shelf;
    R hidden = shelf;
    std::vector<std::size_t> batches = {};
    std::vector<Passage> guessed = {};
    std::vector<std::vector<Passage>> answers = {};

    std::vector<Passage> retrieve(const Query& query, std::size_t k) {
        batches.push_back(1);
        return shelf.retrieve(query, k);
    }
    std::span<const std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        batches.push_back(queries.size());
        answers.clear();
        for (const Query& query : queries) answers.push_back(shelf.retrieve(query, k));
        return answers;
    }
    std::span<const Passage> speculate(const Query& query, std::size_t k) {
        if (batches.empty()) return {};  // nothing was seen yet
        guessed = hidden.retrieve(query, k);
        return guessed;
    }
};

/// Gives NaN, or throws, at some texts.
class FragileModel : public FullNullModel {
public:
    explicit FragileModel(std::size_t every, bool throws) : every_(every), throws_(throws) {}
    std::span<const float> evaluate(TokenSpan tokens) {
        TokenBuffer text(secret_tokens().begin(), secret_tokens().end());
        append(text, tokens);
        const bool bad = hash_of(text) % every_ == 0;
        if (bad && throws_) throw NullModelError{};
        const std::span<const float> logits = FullNullModel::evaluate(tokens);
        if (!bad) return logits;
        nan_.assign(logits.size(), std::numeric_limits<float>::quiet_NaN());
        return nan_;
    }

private:
    std::size_t every_;
    bool throws_;
    std::vector<float> nan_;
};

/// How a generation ended: with an error or not.
struct Outcome {
    std::string error;
    Generation text;
};

template <class DecoderT>
Outcome outcome_of(DecoderT& decoder, const Tokens& prompt, Told& told) {
    try {
        return {"", decoder.generate(prompt, options, told)};
    } catch (const std::exception& error) {
        return {error.what(), decoder.partial()};
    }
}

}  // namespace

TEST_CASE("a round by hand: a search, then three guesses, then a batch of them and of the search that comes up") {
    Oracle<Shelf> oracle{Shelf{1}};
    FullNullModel model;
    SpeculativeDecoder decoder{model, oracle, Policies{}.schedule(EveryNTokens{1}), {.stride = 3}};
    const Generation text = decoder.generate(random_prompt(4), {.max_tokens = 10, .ignore_eos = true});
    // Retrieval 1 is searched for, 2 3 4 are guessed and checked with 5, 6 7 8 with 9; 10 is checked at the end.
    CHECK(oracle.batches == std::vector<std::size_t>{1, 4, 4, 1});
    CHECK(text.stats.speculation == Speculation{.speculated = 7, .matched = 7, .rolled_back = 0, .discarded = 0});
    CHECK(text.stats.retrievals == 10);
    CHECK(text.stats.counts.evaluated == model.evaluated);
}

TEST_CASE("a wrong guess by hand: what was evaluated after it counts, and the text goes back to it") {
    struct Wrong : Shelf {
        std::vector<OwnedPassage> other = {};
        using Shelf::Shelf;
        std::vector<Passage> speculate(const Query&, std::size_t) {
            if (searches == 0) return {};
            other.resize(1);
            other[0].id = "none of them";
            other[0].tokens = {5, 6};
            return {other[0].view()};
        }
    };
    Wrong wrong{1};
    FullNullModel model;
    // A retrieval for each of 4 tokens, behind the text: 1 is searched for, 2 is guessed, 3 is guessed, at 4 they are checked.
    SpeculativeDecoder decoder{model, wrong, Policies{}.schedule(EveryNTokens{1}), {.stride = 2}};
    const Generation text = decoder.generate(random_prompt(4), {.max_tokens = 4, .ignore_eos = true});
    // One search finds 2 wrong; 3 was guessed in vain. From 2 on: 3 and 4 are guessed, and checked at the end: 3 wrong. Then 4 alone.
    CHECK(text.stats.speculation.speculated == 5);
    CHECK(text.stats.speculation.matched == 0);
    CHECK(text.stats.speculation.rolled_back == 3);
    // Guesses of 2 tokens and a token of text: 1 + 2 for each of five.
    CHECK(text.stats.speculation.discarded == 15);
    CHECK(text.stats.counts.evaluated == model.evaluated);
    CHECK(text.stats.counts.evaluated + text.stats.counts.reused == text.stats.counts.requested);
}

TEST_CASE("nothing found means nothing guessed, and the first retrieval searches") {
    FixedRetriever nothing;
    SeenPassages seen{std::ref(nothing), &Shelf::near};
    FullNullModel model;
    SpeculativeDecoder decoder{model, seen, every_3};
    const Generation text = decoder.generate(random_prompt(4), options);
    CHECK(text.stats.speculation == Speculation{});
    CHECK(nothing.calls == 8);
    CHECK(text.stats.retrievals == 8);
}

TEST_CASE("more passages can be asked for than are read; they are remembered, and only those that are read are told") {
    Shelf shelf{3};
    SeenPassages seen{std::ref(shelf), &Shelf::near};
    FullNullModel model;
    SpeculativeDecoder decoder{model, seen, every_3, {.stride = 2, .prefetched = 5}};
    const Generation text = decoder.generate(random_prompt(4), {.max_tokens = 1, .passages = 2});
    CHECK(shelf.depths == std::vector<std::size_t>{5});
    CHECK(seen.size() == 5);
    CHECK(text.retrievals.front().passages.size() == 2);
    for (std::uint64_t seed = 0; seed < 50; ++seed)
        GuessedWorld{.seed = seed, .stride = 1 + seed % 4, .passages = 1 + seed % 2, .prefetched = 20}.check(
            AnyPolicies{}.schedule(AnySchedule{EveryNTokens{2}}));
}

TEST_CASE("whatever the clock says, the text is the same") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        SplitMix64 random{seed};
        const auto adversary = [&]() -> double {
            switch (random.below(5)) {
                case 0: return std::numeric_limits<double>::quiet_NaN();
                case 1: return -1e300;
                case 2: return std::numeric_limits<double>::infinity();
                case 3: return 0;
                default: return random.uniform() * 100;
            }
        };
        GuessedWorld{.seed = seed, .stride = {}, .clock = adversary}.check(
            AnyPolicies{}.schedule(AnySchedule{EveryNTokens{2}}));
    }
}

TEST_CASE("a clock by hand leads to the optimal stride") {
    double time = 0;
    std::size_t searches = 0;
    const auto clock = [&] { return time; };
    struct Slow : Oracle<Shelf> {
        double* time;
        std::size_t* searches;
        std::span<const std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
            *time += 10;
            ++*searches;
            return Oracle::retrieve_batch(queries, k);
        }
    };
    Slow slow{{Shelf{1}}, &time, &searches};
    struct Timed : FullNullModel {
        double* time = nullptr;
        std::span<const float> evaluate(TokenSpan tokens) {
            *time += 1;
            return FullNullModel::evaluate(tokens);
        }
    };
    Timed model;
    model.time = &time;
    SpeculativeDecoder decoder{model, slow, Policies{}.schedule(EveryNTokens{1}), {.clock = clock}};
    CHECK(decoder.stride() == 1);
    decoder.generate(random_prompt(4), {.max_tokens = 12, .ignore_eos = true});
    // A step takes 1, a search 10, all guesses match: 4. So 1 | 2 3 | 4 5 6 7 8 | 9 10 11 12.
    CHECK(slow.batches == std::vector<std::size_t>{1, 2, 5, 4});
    CHECK(decoder.stride() == 4);
}

TEST_CASE("a window that fills up, and policies for that") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        CAPTURE(seed);
        GuessedWorld world{.seed = seed, .stride = 1 + seed % 4, .passages = 1 + seed % 3, .window = 32 + seed % 9};
        const AnyPolicies policies =
            AnyPolicies{}.schedule(AnySchedule{EveryNTokens{2}}).sampler(AnySampler{TruncatedSampling{{.seed = seed}}});
        world.check(policies);
        world.check(policies.overflow(AnyOverflow{DropOldest{0.5}}));
        world.check(policies.overflow(AnyOverflow{ShortenPassages{4, DropOldest{0.5}}}));
        world.check(policies.overflow(AnyOverflow{DropOldest{0.5}}).layout(AnyLayout{PrependPassages{}}));
    }
}

TEST_CASE("a first context that a guess makes too long for the window fits with what is found, and the other way round") {
    struct Lengths {
        std::size_t found, guessed;
        TokenBuffer tokens = TokenBuffer(50, 5);
        Passage passage(std::size_t length) { return {.id = "of ", .tokens = TokenSpan{tokens}.first(length)}; }
        std::vector<Passage> retrieve(const Query&, std::size_t) { return {passage(found)}; }
        std::vector<Passage> speculate(const Query&, std::size_t) { return {passage(guessed)}; }
    };
    for (const bool fits : {false, true}) {
        Lengths lengths{.found = fits ? 2u : 50u, .guessed = fits ? 50u : 2u};
        FullNullModel model{20, 30};
        SpeculativeDecoder decoder{model, lengths, Policies{}, {.stride = 2}};
        if (fits) {
            CHECK(decoder.generate(random_prompt(5), {.max_tokens = 4, .ignore_eos = true}).tokens.size() == 4);
        } else {
            const std::string sentence =
                error_of(ErrorCode::window, [&] { decoder.generate(random_prompt(5), {.max_tokens = 4, .ignore_eos = true}); });
            CHECK(sentence ==
                  "the window of the model holds 30 tokens, but the first context needs 56: 1 of the head, 5 of the "
                  "prompt and 50 of retrieved passages");
            CHECK(decoder.partial().tokens.empty());
            lengths.found = 2;
            CHECK(decoder.generate(random_prompt(5), {.max_tokens = 4, .ignore_eos = true}).tokens.size() == 4);
        }
    }
}

TEST_CASE("a retriever that fails leaves what was checked, and a decoder that works") {
    for (const bool batches : {false, true}) {
        const auto run = [&](auto shelf) {
            FullNullModel plain;
            Shelf undisturbed{5};
            const Generation whole = Decoder{plain, undisturbed, every_3}.generate(random_prompt(6), options);
            std::size_t failures = 0;
            for (std::size_t n = 1; n < 16; ++n) {
                CAPTURE(n);
                auto failing = shelf;
                SeenPassages seen{std::ref(failing), &Shelf::near};
                FullNullModel model;
                SpeculativeDecoder decoder{model, seen, every_3, {.stride = 3}};
                failing.fail_at = n;
                Told told;
                const Outcome outcome = outcome_of(decoder, random_prompt(6), told);
                CHECK(starts_with(whole.tokens, outcome.text.tokens));
                CHECK(told.calls == outcome.text.tokens);
                CHECK(outcome.text.surprisals.size() == outcome.text.tokens.size());
                CHECK(outcome.text.stats.counts.evaluated == model.evaluated);
                if (outcome.error.empty()) {
                    CHECK(outcome.text.tokens == whole.tokens);
                } else {
                    ++failures;
                    CHECK(outcome.error == "the index is gone");
                    CHECK(outcome.text.tokens.size() % 3 == 0);
                    CHECK(outcome.text.retrievals.size() == outcome.text.tokens.size() / 3);
                }
                failing.fail_at = Shelf::never;
                Told again;
                check_the_same(decoder.generate(random_prompt(6), options, again), whole);
                CHECK(again.calls == whole.tokens);
            }
            CHECK(failures > 7);
        };
        batches ? run(BatchShelf{5}) : run(Shelf{5});
    }
}

TEST_CASE("a model and policies that fail at some texts fail at those of the plain text, and not at others") {
    std::size_t failed = 0, passed = 0, saved = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        CAPTURE(seed);
        const auto fragile_schedule = [seed](const StepView& step) {
            if (seed % 3 == 2 && hash_of(step.context) % 40 == 0) throw std::runtime_error("the schedule gives up");
            return step.retrievals == 0 || step.since_retrieval >= 2;
        };
        const auto policies = every_3.schedule(fragile_schedule);
        const auto make = [&] { return FragileModel{seed % 3 == 2 ? 1000000u : 40u, seed % 3 == 1}; };
        Shelf shelf{seed}, plain_shelf{seed};
        SeenPassages seen{std::ref(shelf), &Shelf::near};
        FragileModel plain_model = make(), model = make();
        Decoder plain{plain_model, plain_shelf, policies};
        SpeculativeDecoder decoder{model, seen, policies, {.stride = 3}};
        Told plain_told, told;
        const Outcome expected = outcome_of(plain, random_prompt(6, seed), plain_told);
        const Outcome found = outcome_of(decoder, random_prompt(6, seed), told);
        CHECK(found.error == expected.error);
        CHECK(found.text.tokens == expected.text.tokens);
        CHECK(found.text.surprisals == expected.text.surprisals);
        CHECK(found.text.retrievals.size() == expected.text.retrievals.size());
        CHECK(told.calls == plain_told.calls);
        CHECK(found.text.stats.counts.evaluated == model.evaluated);
        (expected.error.empty() ? passed : failed) += 1;
        saved += found.text.stats.speculation.rolled_back;
        // It goes on from what the model holds.
        const Outcome again = outcome_of(decoder, random_prompt(6, seed), told);
        CHECK(again.error == expected.error);
        CHECK(again.text.tokens == expected.text.tokens);
    }
    CHECK(failed > 50);
    CHECK(passed > 50);
    CHECK(saved > 300);
}

TEST_CASE("on_token cancels, or throws, at a token that has been checked") {
    const auto back = Policies{}.schedule([](const StepView& step) -> Decision {
        if (step.retrievals == 0) return true;
        return step.since_retrieval < 4 ? Decision::go_on() : Decision::retrieve(step.retrievals % 3 == 2 ? 2 : 0);
    });
    for (std::size_t n = 1; n < 30; ++n) {
        CAPTURE(n);
        struct Cancels : Told {
            std::size_t at;
            bool throws = false;
            bool operator()(TokenId token) {
                calls.push_back(token);
                if (calls.size() == at && throws) throw std::runtime_error("enough");
                return calls.size() != at;
            }
            void rewind(std::size_t tokens) {
                Told::rewind(tokens);
                if (calls.size() == at && throws) throw std::runtime_error("enough");
            }
        };
        for (const bool throws : {false, true}) {
            Shelf shelf{4}, plain_shelf{4};
            SeenPassages seen{std::ref(shelf), &Shelf::near};
            FullNullModel plain_model, model;
            Decoder plain{plain_model, plain_shelf, back};
            SpeculativeDecoder decoder{model, seen, back, {.stride = 4}};
            const auto outcome = [&](auto& which, Cancels& told) -> Outcome {
                try {
                    return {"", which.generate(random_prompt(6), options, told)};
                } catch (const std::exception& error) {
                    return {error.what(), which.partial()};
                }
            };
            Cancels plain_told{{}, n, throws}, told{{}, n, throws};
            const Outcome expected = outcome(plain, plain_told);
            const Outcome found = outcome(decoder, told);
            CHECK(found.error == expected.error);
            CHECK(told.calls == plain_told.calls);
            if (throws) {
                CHECK(found.text.tokens == expected.text.tokens);
                CHECK(found.text.surprisals == expected.text.surprisals);
                CHECK(found.text.retrievals.size() == expected.text.retrievals.size());
            } else {
                check_the_same(found.text, expected.text);
            }
            CHECK(found.text.stats.counts.evaluated == model.evaluated);
            // The text so far can be the next prompt.
            const Tokens next = found.text.tokens;
            const Generation further =
                decoder.generate(decoder.partial().tokens.empty() ? next : decoder.partial().tokens, options);
            plain_model.truncate(0);
            CHECK(further.tokens == plain.generate(next, options).tokens);
        }
    }
}

TEST_CASE("a schedule that looks at attention, and where its text stands") {
    struct Attentive : FullNullModel {
        using FullNullModel::FullNullModel;
        std::vector<float> weights_ = {};
        static std::size_t layers() { return 1; }
        AttentionWeights attention(std::size_t) {
            weights_.clear();
            for (std::size_t i = 0; i < size(); ++i) weights_.push_back(static_cast<float>(hash_of(tokens().subspan(i)) % 100));
            return {weights_, 1};
        }
    };
    struct Looks {
        Decision operator()(const StepView& step) const {
            if (step.retrievals == 0) return true;
            if (step.attention == nullptr) return false;
            const StepAttention& attention = *step.attention;
            const std::size_t place = attention.places[step.prompt_tokens];
            return place != StepAttention::nowhere && attention.weights(0).head(0)[place] > 60;
        }
        bool wants_attention() const { return true; }
    };
    Sums all;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const GuessedWorld world{.seed = seed, .stride = 1 + seed % 4};
        const AnyPolicies policies =
            AnyPolicies{}.schedule(AnySchedule{Looks{}}).layout(seed % 2 == 0 ? AnyLayout{} : AnyLayout{PrependPassages{}});
        all = all + world.check_over(
                        policies, [] { return Attentive(20); }, Shelf{seed});
    }
    CHECK(all.matched > 200);
    CHECK(all.rolled_back > 200);
}

TEST_CASE(
    "a guess with other scores is wrong if branches are weighed by them, else right; what is told are those that were found") {
    struct Forking : FullNullModel {
        using FullNullModel::FullNullModel;
        Forking fork() const { return *this; }
    };
    struct OtherScores : Shelf {
        using Shelf::Shelf;
        std::vector<Passage> speculate(const Query& query, std::size_t k) {
            if (searches == 0) return {};
            const std::size_t before = searches;
            std::vector<Passage> guessed = retrieve(query, k);
            searches = before;
            guessed.front().score += 0.25f;
            return guessed;
        }
    };
    const auto guesses_of = [](const auto& fusion) {
        OtherScores shelf{1};
        Shelf plain_shelf{1};
        Forking model(20), plain(20);
        const auto fused = Policies{}.schedule(EveryNTokens{2}).fusion(fusion);
        SpeculativeDecoder decoder{model, shelf, fused, {.stride = 3}};
        const GenerateOptions two{.max_tokens = 24, .passages = 2, .ignore_eos = true, .surprisals = true};
        const Generation text = decoder.generate(random_prompt(5), two);
        check_the_same(text, Decoder{plain, plain_shelf, fused}.generate(random_prompt(5), two));
        return text.stats.speculation;
    };
    CHECK(guesses_of(MeanOfLogits{}) == Speculation{.speculated = 9, .matched = 9});
    CHECK(guesses_of(Concatenate{}) == Speculation{.speculated = 9, .matched = 9});
    CHECK(guesses_of(WeightedMixture{}).matched == 0);
    CHECK(guesses_of(WeightedMixture{}).rolled_back > 5);
}

TEST_CASE("any retriever can be asked for a guess; one that does not guess is searched") {
    Shelf shelf{1};
    AnyRetriever plain{std::ref(shelf)};
    CHECK(plain.speculate({}, 3).empty());
    FullNullModel model;
    SpeculativeDecoder decoder{model, plain, every_3};
    CHECK(decoder.generate(random_prompt(4), options).stats.speculation == Speculation{});
    AnyRetriever seen{SeenPassages{std::ref(shelf), &Shelf::near}};
    SpeculativeDecoder guessing{model, seen, every_3};
    CHECK(guessing.generate(random_prompt(4), options).stats.speculation.speculated > 0);
    CHECK(error_of(ErrorCode::contract, [&] {
              SpeculativeDecoder{model, seen, every_3, {.stride = 0}};
          }) == "a SpeculativeDecoder makes at least 1 guess before it checks, found 0");
}

}  // namespace test_decoder_speculative_edges

// Batches that are searched in a thread, what is remembered of them, and answers that are stale.
#include "flashback/retrieval/asynchronous.hpp"

#include "decoder/helpers.hpp"
#include "decoder/speculative.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/presets.hpp"
#include "flashback/retrieval/prefetching.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "retrieval/fake_retrievers.hpp"
#include "support/null_model.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_asynchronous {

using namespace flashback;
using namespace flashback_test;

namespace {

const std::vector<TokenId> one{1, 2, 3}, two{4, 5}, three{6};
const std::array<Query, 3> asked{Query{.tokens = one}, Query{.tokens = two}, Query{.tokens = three, .context = one}};

/// What several answers say.
template <class Answers>
std::vector<std::string> words_of_all(const Answers& answers) {
    std::vector<std::string> words;
    for (const auto& answer : answers) words.push_back(words_of(std::span<const Passage>{answer}));
    return words;
}

std::vector<std::string> echoes(std::span<const Query> queries, std::size_t k) {
    std::vector<std::string> words;
    for (const Query& query : queries) words.push_back(echo_of(query, k));
    return words;
}

struct BatchEcho : Echo {
    std::vector<std::size_t> batches = {};
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        batches.push_back(queries.size());
        std::vector<std::vector<Passage>> all;
        for (const Query& query : queries) {
            const auto answer = retrieve(query, k);
            all.emplace_back(answer.begin(), answer.end());
            kept.splice(kept.end(), standing);  // they live as long as the batch
        }
        return all;
    }
    std::list<OwnedPassage> kept = {};
};

float length_of(const Query&, const Passage& passage) { return static_cast<float>(passage.text.size()); }

}  // namespace

TEST_CASE("a batch is searched while its caller goes on, and its answers are those of the retriever") {
    Gate gate;
    Echo echo{.before = [&](std::size_t) { gate.wait(); }};
    Asynchronous later{std::ref(echo)};
    static_assert(AsynchronousRetriever<decltype(later)> && !BatchRetriever<decltype(later)>);
    {
        TokenBuffer passing = one;  // the queries are copied
        const std::array<Query, 2> queries{Query{.tokens = passing}, asked[1]};
        later.begin_batch(queries, 2);
        passing.assign(3, 9);
    }
    gate.open();
    CHECK(words_of_all(later.take_batch()) == echoes(std::span{asked}.first(2), 2));
    CHECK(words_of(later.retrieve(asked[2], 1)) == echo_of(asked[2], 1));
    later.begin_batch({}, 3);
    CHECK(later.take_batch().empty());
    CHECK(error_of(ErrorCode::contract, [&] { later.take_batch(); }) ==
          "take_batch gives the answers to a batch, but none was begun");
}

TEST_CASE("a batch is one call of a retriever that takes batches") {
    BatchEcho echo;
    Asynchronous later{std::ref(echo)};
    later.begin_batch(asked, 2);
    CHECK(words_of_all(later.take_batch()) == echoes(asked, 2));
    CHECK(echo.batches == std::vector<std::size_t>{3});
}

TEST_CASE("of two batches the first is given up, and what a search throws comes out when it is taken") {
    std::atomic<bool> fails = false;
    Echo echo{.before = [&](std::size_t) {
        if (fails) throw std::runtime_error("the index is gone");
    }};
    Asynchronous later{std::ref(echo)};
    later.begin_batch(asked, 1);
    later.begin_batch(std::span{asked}.first(1), 2);
    CHECK(words_of_all(later.take_batch()) == echoes(std::span{asked}.first(1), 2));
    fails = true;
    later.begin_batch(asked, 1);
    CHECK_THROWS_WITH(later.take_batch(), "the index is gone");
    later.begin_batch(asked, 1);  // nobody takes this one
    fails = false;
    later.begin_batch(asked, 1);
    CHECK(words_of_all(later.take_batch()) == echoes(asked, 1));
    later.begin_batch(asked, 1);  // and the end waits for this one
}

TEST_CASE("a batch is remembered as single answers are") {
    BatchEcho echo, echo_in_thread;
    Echo single;
    SeenPassages seen{std::ref(echo), &length_of};
    SeenPassages later{Asynchronous{std::ref(echo_in_thread)}, &length_of};
    SeenPassages plain{std::ref(single), &length_of};
    static_assert(BatchRetriever<decltype(seen)> && !AsynchronousRetriever<decltype(seen)>);
    static_assert(AsynchronousRetriever<decltype(later)> && !BatchRetriever<decltype(later)>);
    static_assert(!BatchRetriever<decltype(plain)> && SpeculatingRetriever<decltype(plain)>);
    CHECK(words_of_all(seen.retrieve_batch(asked, 2)) == echoes(asked, 2));
    later.begin_batch(asked, 2);
    CHECK(later.size() == 0);
    CHECK(words_of_all(later.take_batch()) == echoes(asked, 2));
    for (const Query& query : asked) plain.retrieve(query, 2);
    CHECK(seen.size() == 6);
    CHECK(later.size() == 6);
    for (const Query& query : asked) {
        const std::string guess = words_of(plain.speculate(query, 3));
        CHECK(words_of(seen.speculate(query, 3)) == guess);
        CHECK(words_of(later.speculate(query, 3)) == guess);
    }
}

TEST_CASE("the text is the same if guesses are checked in a thread, over 200 seeds and several schedules") {
    Sums all;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        GuessedWorld world{
            .seed = seed, .stride = 1 + seed % 5, .passages = 1 + seed % 2, .prefetched = seed % 3 == 0 ? 20u : 0u};
        if (seed % 7 == 0) world.stride.reset();
        Shelf shelf{seed};
        BatchShelf batches{seed};
        SeenPassages seen{Asynchronous{std::ref(shelf)}, &Shelf::near};
        SeenPassages seen_batches{Asynchronous{std::ref(batches)}, &Shelf::near};
        const auto make = [] { return FullNullModel{}; };
        const AnyPolicies policies =
            AnyPolicies{}
                .schedule(seed % 2 == 0 ? AnySchedule{EveryNTokens{1 + seed % 4}} : AnySchedule{[](const StepView& step) {
                    return step.retrievals == 0 || step.probability() < 0.1;
                }})
                .layout(seed % 3 == 0 ? AnyLayout{PrependPassages{}} : AnyLayout{})
                .sampler(AnySampler{TruncatedSampling{{.top_p = 0.9f, .seed = seed}}});
        all = all + world.check_with(policies, make, seen) + world.check_with(policies, make, seen_batches);
    }
    CHECK(all.matched > 1000);
    CHECK(all.rolled_back > 1000);
}

TEST_CASE("the last step of a round is written while the batch is searched") {
    struct Watched : Shelf {
        using Shelf::Shelf;
        Gate* gate = nullptr;
        std::vector<Passage> retrieve(const Query& query, std::size_t k) {
            if (searches > 0 && !gate->wait()) throw std::logic_error("nothing was written meanwhile");
            return Shelf::retrieve(query, k);
        }
    };
    Gate gate;
    Watched shelf{1};
    shelf.gate = &gate;
    struct Opens : FullNullModel {
        Gate* gate = nullptr;
        std::span<const float> evaluate(TokenSpan tokens) {
            if (evaluations >= 2) gate->open();  // after the first two tokens: with what was guessed
            return FullNullModel::evaluate(tokens);
        }
    };
    Opens model;
    model.gate = &gate;
    SeenPassages seen{Asynchronous{std::ref(shelf)}, &Shelf::near};
    SpeculativeDecoder decoder{model, seen, Policies{}.schedule(EveryNTokens{2}), {.stride = 1}};
    CHECK(decoder.generate(random_prompt(4), {.max_tokens = 8, .ignore_eos = true}).tokens.size() == 8);
}

TEST_CASE("a batch that fails in its thread leaves what was checked, and a decoder that works") {
    const auto policies = Policies{}.schedule(EveryNTokens{3});
    const GenerateOptions options{.max_tokens = 24, .ignore_eos = true};
    Shelf undisturbed{5};
    FullNullModel plain;
    const Generation whole = Decoder{plain, undisturbed, policies}.generate(random_prompt(6), options);
    for (std::size_t n = 1; n < 12; ++n) {
        CAPTURE(n);
        Shelf shelf{5};
        shelf.fail_at = n;
        SeenPassages seen{Asynchronous{std::ref(shelf)}, &Shelf::near};
        FullNullModel model;
        SpeculativeDecoder decoder{model, seen, policies, {.stride = 2}};
        for (int again = 0; again < 3; ++again) {
            bool failed = false;
            try {
                const Generation text = decoder.generate(random_prompt(6), options);
                CHECK(text.tokens == whole.tokens);
            } catch (const std::runtime_error& error) {
                failed = true;
                shelf.fail_at = Shelf::never;
                CHECK(std::string{error.what()} == "the index is gone");
                CHECK(decoder.partial().tokens.size() % 3 == 0);
                CHECK(decoder.partial().tokens == first_of(whole.tokens, decoder.partial().tokens.size()));
            }
            CHECK((!failed || again == 0 || n > 8));
        }
    }
}

TEST_CASE("a stale answer by hand: each retrieval but the first reads the answer to the query of the interval before") {
    for (const bool preset : {false, true}) {
        Echo echo;
        auto retriever = stale(std::ref(echo));
        FullNullModel model;
        const auto run = [&](auto policies) {
            Decoder decoder{model, retriever, policies};
            const std::size_t interval = decoder.policies().schedule().interval();
            for (int again = 0; again < 2; ++again) {  // a new text does not read what was prefetched for the last one
                const std::size_t hits = retriever.hits();
                const Tokens prompt = random_prompt(70, static_cast<std::uint64_t>(again));
                const Generation text = decoder.generate(prompt, {.max_tokens = 3 * interval + 1, .ignore_eos = true});
                REQUIRE(text.retrievals.size() == 4);
                CHECK(retriever.hits() == hits + 3);
                Tokens all = prompt;
                all.insert(all.end(), text.tokens.begin(), text.tokens.end());
                for (std::size_t i = 0; i < 4; ++i) {
                    // It asks for the newest tokens, and reads what was found for those of a token after the retrieval before.
                    const std::size_t at = prompt.size() + i * interval;
                    const std::size_t read = i == 0 ? at : at - interval + 1;
                    const auto query_at = [&](std::size_t end) {
                        return policies.query()(StepView{.context = TokenSpan{all}.first(end), .prompt_tokens = prompt.size()});
                    };
                    CHECK(std::ranges::equal(text.retrievals[i].query_tokens, query_at(at).tokens));
                    CHECK(text.retrievals[i].passages.front().text == "echo found this for " + words_of(query_at(read)));
                }
            }
        };
        preset ? run(presets::pipe_rag()) : run(Policies{}.schedule(StaleEveryN{5}).query(LastNTokens{7}));
    }
}

TEST_CASE("a stale answer serves a text that goes on, and no other") {
    const ServesWhatGoesOn serves;
    CHECK(serves({.tokens = one, .context = one}, {.tokens = two, .context = TokenBuffer{1, 2, 3, 4}}));
    CHECK(serves({.tokens = one}, {.tokens = two}));
    CHECK_FALSE(serves({.tokens = one, .context = one}, {.tokens = one, .context = two}));
    CHECK_FALSE(serves({.tokens = one, .context = one}, {.tokens = one, .context = TokenBuffer{1, 2}}));
}

}  // namespace test_retrieval_asynchronous

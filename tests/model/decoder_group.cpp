// Several decoders that share passes: each writes what it writes alone.
#include "flashback/decoder/decoder_group.hpp"

#include "flashback/model/session.hpp"
#include "flashback/policy/presets.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_decoder_group {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 1, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = 300};

/// Counts passes.
struct CountedSession : PagedSession {
    using PagedSession::PagedSession;
    static inline std::size_t passes = 0;

    static std::span<const float> evaluate_each(std::span<CountedSession* const> sessions, std::span<const TokenSpan> tokens) {
        ++passes;
        const std::vector<PagedSession*> all(sessions.begin(), sessions.end());
        return PagedSession::evaluate_each(all, tokens);
    }
};

struct Prompt {
    std::vector<TokenId> tokens;
    GenerateOptions options;
};

void check_same(const Generation& found, const Generation& expected) {
    CHECK(found.tokens == expected.tokens);
    CHECK(found.stop == expected.stop);
    CHECK(found.stats.retrievals == expected.stats.retrievals);
    CHECK(found.stats.counts.requested == expected.stats.counts.requested);
    CHECK(found.stats.counts.evaluated == expected.stats.counts.evaluated);
    CHECK(found.stats.counts.reused == expected.stats.counts.reused);
    CHECK(found.stats.counts.discarded == expected.stats.counts.discarded);
    CHECK(found.retrievals.size() == expected.retrievals.size());
}

}  // namespace

TEST_CASE("texts of other policies, lengths and samplers in one group are those of a decoder alone, and passes are shared") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{3};
    std::vector<Prompt> prompts;
    for (std::size_t i = 0; i < 4; ++i)
        prompts.push_back({random_tokens(random, 5 + 30 * i, shape.vocab),
                           {.max_tokens = 25 + 12 * i, .passages = 1 + i % 2, .ignore_eos = true}});
    RandomRetriever retriever{12, 40, shape.vocab, 1};
    const auto sampled = [](std::uint64_t seed) { return TruncatedSampling{{.temperature = 1.0f, .seed = seed}}; };
    const auto first = presets::flashback(3, 4).sampler(sampled(1));
    const auto second = presets::passages_aside().sampler(sampled(2));
    const auto third = presets::in_context_ralm().sampler(sampled(3));
    const auto fourth = presets::closed_book();

    DecoderGroup<CountedSession> group;
    std::vector<std::unique_ptr<CountedSession>> sessions;
    for (std::size_t i = 0; i < 4; ++i) sessions.push_back(std::make_unique<CountedSession>(model));
    std::vector<TokenId> heard;
    CountedSession::passes = 0;
    CHECK(group.add(*sessions[0], retriever, first, prompts[0].tokens, prompts[0].options,
                    [&](TokenId token) { heard.push_back(token); }) == 0);
    CHECK(group.add(*sessions[1], retriever, second, prompts[1].tokens, prompts[1].options) == 1);
    for (int i = 0; i < 10; ++i) CHECK(group.step());
    group.add(*sessions[2], retriever, third, prompts[2].tokens, prompts[2].options);  // while the others are being written
    group.add(*sessions[3], retriever, fourth, prompts[3].tokens, prompts[3].options);
    group.run();
    CHECK_FALSE(group.step());
    CHECK(group.size() == 4);

    std::size_t alone = 0;
    const auto check = [&](std::size_t i, const auto& policies) {
        CAPTURE(i);
        Session session{model};
        RandomRetriever its{12, 40, shape.vocab, 1};
        const Generation expected = Decoder{session, its, policies}.generate(prompts[i].tokens, prompts[i].options);
        check_same(group.result(i), expected);
        CHECK(std::ranges::equal(sessions[i]->tokens(), session.tokens()));
        alone += expected.tokens.size();
    };
    check(0, first);
    check(1, second);
    check(2, third);
    check(3, fourth);
    CHECK(heard == group.result(0).tokens);
    CHECK(CountedSession::passes < alone / 2);
    check_error(ErrorCode::contract, "a group has no text 4: it has 4", [&] { static_cast<void>(group.result(4)); });
}

TEST_CASE("branches of one text go on from its cache, which none of them copies") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{4};
    const std::vector<TokenId> prompt = random_tokens(random, 150, shape.vocab);
    const auto pages = std::make_shared<KVPagePool>(PagedSession::cache_shape(model));
    PagedSession trunk{model, {}, {}, [&](const KVShape& its) { return PagedKVCache{its, pages}; }};
    trunk.evaluate(trunk.head());
    trunk.evaluate(prompt);
    std::vector<PagedSession> branches;
    for (int i = 0; i < 3; ++i) branches.push_back(trunk.fork());
    CHECK(pages->used_bytes() == 3 * pages->page_bytes());
    NoPassages nothing;
    DecoderGroup<PagedSession> group;
    for (std::size_t i = 0; i < branches.size(); ++i) {
        group.add(branches[i], nothing, presets::closed_book().sampler(TruncatedSampling{{.temperature = 1.0f, .seed = i}}),
                  prompt, {.max_tokens = 20, .ignore_eos = true});
    }
    group.run();
    CHECK(pages->used_bytes() == (3 + 3) * pages->page_bytes());  // the last page of each, which is not full
    for (std::size_t i = 0; i < branches.size(); ++i) {
        CHECK(group.result(i).stats.counts.evaluated == 20);  // the last token of the prompt again, and 19 of 20 new ones
        CHECK(group.result(i).tokens != group.result((i + 1) % 3).tokens);
    }
}

TEST_CASE("a text that fails ends with what it has, and the others go on") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{5};
    const std::vector<TokenId> prompt = random_tokens(random, 20, shape.vocab);
    const GenerateOptions options{.max_tokens = 12, .ignore_eos = true};
    NoPassages nothing;
    struct FailsAt {
        std::size_t at;
        std::size_t calls = 0;
        void reset() { calls = 0; }
        TokenId operator()(std::span<const float> logits) {
            if (calls++ == at) throw std::runtime_error("no more");
            return Greedy{}(logits);
        }
    };
    const auto policies = presets::closed_book();
    for (const std::size_t failing : {0u, 1u, 2u}) {  // before the others, between them, and after them
        CAPTURE(failing);
        std::vector<std::unique_ptr<Session>> sessions;
        DecoderGroup<Session> group;
        for (std::size_t i = 0; i < 3; ++i) {
            sessions.push_back(std::make_unique<Session>(model));
            if (i == failing) {
                group.add(*sessions[i], nothing, policies.sampler(FailsAt{5}), prompt, options);
            } else {
                group.add(*sessions[i], nothing, policies, prompt, options);
            }
        }
        CHECK_THROWS_WITH_AS(group.run(), "no more", std::runtime_error);
        CHECK(group.ended(failing));
        CHECK_FALSE(group.ended((failing + 1) % 3));
        group.run();
        Session session{model};
        const Generation expected = Decoder{session, nothing, policies}.generate(prompt, options);
        for (std::size_t i = 0; i < 3; ++i) {
            CAPTURE(i);
            if (i == failing) {
                CHECK(group.result(i).tokens.size() == 5);
            } else {
                check_same(group.result(i), expected);
            }
        }
    }
}

TEST_CASE("a text whose search or on_token fails, in the first pass or later, leaves the others alone") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{8};
    const std::vector<TokenId> prompt = random_tokens(random, 20, shape.vocab);
    const GenerateOptions options{.max_tokens = 12, .ignore_eos = true};
    NoPassages nothing;
    struct Fails {
        int left;
        std::span<const Passage> retrieve(const Query&, std::size_t) {
            if (left-- == 0) throw std::runtime_error("no more");
            return {};
        }
    };
    const auto policies = presets::closed_book();
    Session alone{model};
    const Generation expected = Decoder{alone, nothing, policies}.generate(prompt, options);
    for (const bool search : {true, false}) {
        for (const int after : {0, 2}) {
            for (const std::size_t failing : {0u, 1u, 2u}) {
                CAPTURE(search);
                CAPTURE(after);
                CAPTURE(failing);
                std::vector<std::unique_ptr<Session>> sessions;
                Fails index{search ? after : 1000};
                int heard = 0;
                DecoderGroup<Session> group;
                for (std::size_t i = 0; i < 3; ++i) {
                    sessions.push_back(std::make_unique<Session>(model));
                    if (i == failing) {
                        group.add(*sessions[i], index, policies.schedule(EveryNTokens{3}), prompt, options, [&](TokenId) {
                            if (!search && heard++ == after) throw std::runtime_error("no more");
                        });
                    } else {
                        group.add(*sessions[i], nothing, policies, prompt, options);
                    }
                }
                CHECK_THROWS_WITH_AS(group.run(), "no more", std::runtime_error);
                sessions.push_back(std::make_unique<Session>(model));
                group.add(*sessions[3], nothing, policies, prompt, options);
                group.run();
                for (const std::size_t i : {0u, 1u, 2u, 3u})
                    if (i != failing) check_same(group.result(i), expected);
            }
        }
    }
}

TEST_CASE("texts can be added by a token, stopped and cancelled, and a model has one text at a time") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{9};
    const std::vector<TokenId> prompt = random_tokens(random, 20, shape.vocab);
    NoPassages nothing;
    const auto policies = presets::closed_book();
    GenerateOptions options{.max_tokens = 12, .ignore_eos = true};
    std::vector<std::unique_ptr<Session>> sessions;
    for (int i = 0; i < 24; ++i) sessions.push_back(std::make_unique<Session>(model));
    DecoderGroup<Session> group;
    std::stop_source stop;
    std::size_t next = 3;
    group.add(*sessions[0], nothing, policies, prompt, options, [&](TokenId) {
        group.add(*sessions[next], nothing, policies, prompt, {.max_tokens = 12, .ignore_eos = true});
        ++next;
    });
    options.stop = stop.get_token();
    group.add(*sessions[1], nothing, policies, prompt, options);
    group.add(*sessions[2], nothing, policies, prompt, options);
    check_error(ErrorCode::contract, "a group was given a model whose text has not ended",
                [&] { group.add(*sessions[0], nothing, policies, prompt); });
    Session rounded{model, {.cache = DType::f16}};
    check_error(ErrorCode::contract, "a model that cannot share passes with the others",
                [&] { group.add(rounded, nothing, policies, prompt); });
    for (int i = 0; i < 4; ++i) group.step();
    stop.request_stop();
    group.cancel(2);
    group.run();
    group.cancel(2);  // has ended
    CHECK(group.result(1).stop == StopReason::cancelled);
    CHECK(group.result(2).stop == StopReason::cancelled);
    CHECK(group.result(1).tokens.size() == 4);
    CHECK(group.result(2).tokens.size() <= 4);
    CHECK(group.size() == 3 + 12);
    for (std::size_t i = 3; i < group.size(); ++i) CHECK(group.result(i).tokens == group.result(0).tokens);
    group.add(*sessions[0], nothing, policies, prompt, {.max_tokens = 12, .ignore_eos = true});  // its first text has ended
    group.run();
    CHECK(group.result(15).tokens == group.result(0).tokens);
}

TEST_CASE("a pass for which there are no pages is tried again when there are") {
    const ModelPtr model = random_model(shape);
    const std::size_t page = KVPagePool{PagedSession::cache_shape(model)}.page_bytes();
    const auto pages = std::make_shared<KVPagePool>(PagedSession::cache_shape(model), KVPagePoolOptions{.budget = 2 * page});
    const auto in_pool = [&](const KVShape& its) { return PagedKVCache{its, pages}; };
    auto hog = std::make_unique<PagedSession>(model, SessionOptions{}, nullptr, in_pool);
    SplitMix64 random{6};
    hog->evaluate(random_tokens(random, 10, shape.vocab));
    const std::vector<TokenId> prompt = random_tokens(random, 20, shape.vocab);
    const GenerateOptions options{.max_tokens = 9, .ignore_eos = true};
    NoPassages nothing;
    PagedSession a{model, {}, {}, in_pool};
    PagedSession b{model, {}, {}, in_pool};
    DecoderGroup<PagedSession> group;
    for (PagedSession* session : {&a, &b}) group.add(*session, nothing, presets::closed_book(), prompt, options);
    check_error(ErrorCode::window, "a pool of keys and values has", [&] { group.run(); });
    hog.reset();
    group.run();
    Session session{model};
    const Generation expected = Decoder{session, nothing, presets::closed_book()}.generate(prompt, options);
    check_same(group.result(0), expected);
    check_same(group.result(1), expected);
}

}  // namespace test_model_decoder_group

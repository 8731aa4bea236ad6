// Policies chosen at run time give what the same policies give when each has its own type.
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

void check_same(const Generation& any, const Generation& typed) {
    CHECK(any.tokens == typed.tokens);
    CHECK(to_string(any.stop) == to_string(typed.stop));
    CHECK(any.stats.counts == typed.stats.counts);
    CHECK(any.stats.rewound == typed.stats.rewound);
    CHECK(any.stats.dropped == typed.stats.dropped);
    REQUIRE(any.retrievals.size() == typed.retrievals.size());
    for (std::size_t i = 0; i < any.retrievals.size(); ++i) {
        CHECK(any.retrievals[i].at == typed.retrievals[i].at);
        CHECK(any.retrievals[i].counts == typed.retrievals[i].counts);
        CHECK(any.retrievals[i].query_tokens == typed.retrievals[i].query_tokens);
        CHECK(any.retrievals[i].passages.size() == typed.retrievals[i].passages.size());
    }
}

template <class P>
AnyPolicies erased(const P& p) {
    return {AnySchedule{p.schedule()}, AnyQuery{p.query()},     AnyWrapper{p.wrapper()},   AnyLayout{p.layout()},
            AnyReuse{p.reuse()},       AnySampler{p.sampler()}, AnyOverflow{p.overflow()}, AnyStopping{p.stopping()}};
}

/// Two generations, one after the other, with policies of their types and with the same policies held by the Any types.
template <class P>
Generation check_erased(const P& policies, const Tokens& prompt, std::size_t window = 100000) {
    FullNullModel typed_model{vocab, window};
    FullNullModel any_model{vocab, window};
    RandomRetriever typed_retriever{9, 6, vocab, 1};
    AnyRetriever any_retriever{RandomRetriever{9, 6, vocab, 1}};
    Decoder typed{typed_model, typed_retriever, policies};
    Decoder any{any_model, any_retriever, erased(policies)};
    const GenerateOptions options{.max_tokens = 50, .passages = 2, .ignore_eos = true, .max_rewinds = 12};
    check_same(any.generate(prompt, options), typed.generate(prompt, options));
    Generation second = typed.generate(prompt, options);
    check_same(any.generate(prompt, options), second);
    CHECK(std::ranges::equal(any_model.tokens(), typed_model.tokens()));
    return second;
}

}  // namespace

TEST_CASE("Layouts, reuse, markers, strides and rewinds give the same generation with and without types") {
    for (const bool prepend : {false, true}) {
        for (const bool reuse : {true, false}) {
            for (const bool markers : {false, true}) {
                for (const std::size_t stride : {1u, 4u, 9u}) {
                    for (const std::size_t rewind : {0u, 3u}) {
                        CAPTURE(prepend);
                        CAPTURE(reuse);
                        CAPTURE(markers);
                        CAPTURE(stride);
                        CAPTURE(rewind);
                        const Setting setting{.stride = stride,
                                              .prepend = prepend,
                                              .reuse = reuse,
                                              .markers = markers ? Tokens{18, 19} : Tokens{}};
                        with_typed_policies(setting, Script{stride, rewind, never},
                                            [](const auto& policies) { check_erased(policies, random_prompt(7)); });
                    }
                }
            }
        }
    }
}

TEST_CASE("Samplers, stop strings, combined schedules and dropping give the same generation with and without types") {
    const auto letter = [](TokenId token) { return std::string(1, static_cast<char>('a' + token)); };
    const auto doubtful = [](const StepView& step) { return step.margin() < 0.02; };
    const auto policies = Policies{}
                              .schedule(any_of(EveryNTokens{11}, all_of(doubtful, at_most(4, EveryNTokens{1}))))
                              .query([](const StepView& step) { return Query{step.kept().last(2)}; })
                              .wrapper(MarkerText{{15, 16}, {17}})
                              .overflow(DropOldest{0.6});
    std::size_t dropped = 0;
    std::size_t stopped = 0;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        const TruncatedSampling sampler{{.temperature = 0.8f, .top_k = 12, .top_p = 0.95f, .min_p = 0.02f, .seed = seed}};
        const auto sampled = policies.sampler(RepetitionPenalty{{.penalty = 1.3f, .window = 9}, sampler});
        dropped += check_erased(sampled.stopping(NeverStop{}), random_prompt(5), 40).stats.dropped;
        const Generation some = check_erased(sampled.stopping(StopStrings{{"ab", "c", "dd"}, letter}), random_prompt(5), 40);
        stopped += some.stop == StopReason::stop_string ? 1 : 0;
        check_erased(policies.sampler(sampler), random_prompt(5), 60);
    }
    CHECK(dropped > 100);
    CHECK(stopped > 5);
}

TEST_CASE("A decoder that was moved from says so, and the other one works") {
    FullNullModel model;
    AnyRetriever retriever;
    Decoder one{model, retriever, AnyPolicies{}};
    const Tokens tokens = one.generate(Tokens{4}, {.max_tokens = 5, .ignore_eos = true}).tokens;
    Decoder two = std::move(one);
    CHECK(two.generate(Tokens{4}, {.max_tokens = 5, .ignore_eos = true}).tokens == tokens);
    CHECK(error_of(ErrorCode::contract, [&] { one.generate(Tokens{4}); }) ==  // NOLINT(bugprone-use-after-move)
          "a policy was used after it was moved from");
}

TEST_CASE("Markers that an AnyWrapper holds are masked as those of a wrapper of its own type are") {
    FullNullModel model;
    model.change_logits = [](std::size_t, std::span<float> logits) { logits[18] = logits[19] = 50; };
    AnyRetriever retriever;
    AnyPolicies policies;
    Decoder unmasked{model, retriever, policies};
    CHECK(unmasked.generate(Tokens{4}, {.max_tokens = 1, .ignore_eos = true}).tokens == Tokens{18});
    AnyPolicies marked{AnySchedule{}, AnyQuery{},   AnyWrapper{MarkerTokens{18, 19}}, AnyLayout{}, AnyReuse{}, AnySampler{},
                       AnyOverflow{}, AnyStopping{}};
    Decoder masked{model, retriever, marked};
    for (const TokenId token : masked.generate(Tokens{4}, {.max_tokens = 20, .ignore_eos = true}).tokens) CHECK(token < 18);
}

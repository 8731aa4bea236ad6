#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t piece = 4;

/// A model that evaluates pieces of 4 tokens, and looks before each whether it should stop.
template <class Base>
class Interruptible : public Base {
public:
    std::function<void(std::size_t pieces)> before_piece;  ///< told how many were evaluated before
    std::size_t pieces = 0;

    std::span<const float> evaluate(TokenSpan tokens) { return evaluate(tokens, {}); }
    std::span<const float> evaluate(TokenSpan tokens, const std::stop_token& stop) {
        std::span<const float> logits;
        for (; !tokens.empty(); ++pieces) {
            if (before_piece) before_piece(pieces);
            if (stop.stop_requested()) return {};
            const TokenSpan now = tokens.first(std::min(piece, tokens.size()));
            logits = Base::evaluate(now);
            tokens = tokens.subspan(now.size());
        }
        return logits;
    }
};

static_assert(InterruptibleModel<Interruptible<NullModel>> && InterruptibleModel<Interruptible<FullNullModel>>);
static_assert(!InterruptibleModel<NullModel> && RemembersTokens<Interruptible<FullNullModel>>);

GenerateOptions options_with(const std::stop_source& source, std::size_t max_tokens = 24) {
    return {.max_tokens = max_tokens, .passages = 2, .ignore_eos = true, .stop = source.get_token()};
}

}  // namespace

TEST_CASE("A stop that was requested before the first token costs nothing, and no policy is asked") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    std::size_t asked = 0;
    const auto schedule = [&](const StepView&) { return ++asked > 0; };
    Decoder decoder{model, retriever, Policies{}.schedule(schedule)};
    std::stop_source source;
    source.request_stop();
    const Generation generation = decoder.generate(Tokens{3, 4}, options_with(source));
    CHECK(to_string(generation.stop) == "cancelled");
    CHECK(generation.tokens.empty());
    CHECK(generation.stats.counts == TokenCounts{});
    CHECK((asked == 0 && retriever.calls == 0 && model.evaluations == 0));
    CHECK(decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true}).tokens.size() == 5);
}

TEST_CASE_TEMPLATE("A stop that is requested at a token ends the generation after it", Model, NullModel, FullNullModel,
                   Interruptible<NullModel>, Interruptible<FullNullModel>) {
    RandomRetriever retriever{9, 12, 20, 1};
    Model undisturbed;
    const auto policies = Policies{}.schedule(EveryNTokens{5});
    const Tokens whole =
        Decoder{undisturbed, retriever, policies}.generate(random_prompt(9), options_with(std::stop_source{})).tokens;
    for (std::size_t n = 1; n <= 24; ++n) {
        CAPTURE(n);
        Model model;
        Decoder decoder{model, retriever, policies};
        std::stop_source source;
        std::size_t seen = 0;
        const Generation generation = decoder.generate(random_prompt(9), options_with(source), [&](TokenId) {
            if (++seen == n) source.request_stop();
        });
        CHECK(to_string(generation.stop) == (n < 24 ? "cancelled" : "max_tokens"));
        CHECK(generation.tokens == first_of(whole, n));
        CHECK(generation.stats.counts.evaluated == model.evaluated);
        CHECK(generation.stats.counts.evaluated + generation.stats.counts.reused == generation.stats.counts.requested);
        CHECK(decoder.generate(random_prompt(9), options_with(std::stop_source{})).tokens == whole);
    }
}

TEST_CASE_TEMPLATE("A stop between two pieces keeps the pieces that are done, true counts, and a decoder that works", Model,
                   Interruptible<NullModel>, Interruptible<FullNullModel>) {
    for (const bool prepend : {false, true}) {
        RandomRetriever retriever{9, 12, 20, 1};
        const Tokens prompt = random_prompt(21);
        const auto run = [&](auto policies) {
            Model undisturbed;
            const Generation whole =
                Decoder{undisturbed, retriever, policies}.generate(prompt, options_with(std::stop_source{}));
            REQUIRE(undisturbed.pieces > 40);
            std::size_t kept_pieces = 0;
            for (std::size_t n = 0; n < undisturbed.pieces; ++n) {
                CAPTURE(n);
                Model model;
                Decoder decoder{model, retriever, policies};
                std::stop_source source;
                model.before_piece = [&](std::size_t pieces) {
                    if (pieces == n) source.request_stop();
                };
                const Generation cut = decoder.generate(prompt, options_with(source));
                REQUIRE(to_string(cut.stop) == "cancelled");
                REQUIRE(model.pieces == n);
                REQUIRE(cut.tokens == first_of(whole.tokens, cut.tokens.size()));
                const TokenCounts& counts = cut.stats.counts;
                REQUIRE(counts.evaluated == model.evaluated);
                REQUIRE(counts.evaluated + counts.reused == counts.requested);
                // A retrieval that was cut short is not reported; those before it are as they were.
                REQUIRE(cut.stats.retrievals == cut.retrievals.size());
                for (std::size_t i = 0; i < cut.retrievals.size(); ++i)
                    REQUIRE(cut.retrievals[i].counts == whole.retrievals[i].counts);

                const std::size_t size = model.size();
                const std::size_t before = model.evaluated;
                const Generation again = decoder.generate(prompt, options_with(std::stop_source{}));
                REQUIRE(again.tokens == whole.tokens);
                REQUIRE(again.stats.counts.evaluated == model.evaluated - before);
                if (cut.tokens.empty()) {
                    // The first plan is made again, and what was done of it stays.
                    REQUIRE(size == piece * n);
                    REQUIRE(again.retrievals[0].counts.reused == size);
                    kept_pieces += n;
                }
                REQUIRE(std::ranges::equal(model.secret_tokens(), undisturbed.secret_tokens()));
            }
            CHECK(kept_pieces > 0);
        };
        const auto policies = Policies{}.schedule(EveryNTokens{5});
        if (prepend) {
            run(policies.layout(PrependPassages{}));
        } else {
            run(policies);
        }
    }
}

TEST_CASE("A stop in the middle of a plan after a rewind has taken the draft back, and says so") {
    Interruptible<FullNullModel> model;
    FixedRetriever retriever{.passages = {{5, 6, 7, 8, 9, 10}}};
    const auto schedule = [](const StepView& step) {
        return step.generated() == 6 ? Decision::retrieve(4) : Decision::go_on();
    };
    Decoder decoder{model, retriever, Policies{}.schedule(schedule)};
    std::stop_source source;
    model.before_piece = [&](std::size_t pieces) {
        if (pieces == 7) source.request_stop();  // one for the prompt, five single tokens, one piece of the plan
    };
    Listener listener;
    const Generation cut = decoder.generate(Tokens{3, 4}, options_with(source), listener);
    CHECK(to_string(cut.stop) == "cancelled");
    CHECK(cut.tokens.size() == 2);
    CHECK(cut.tokens == listener.tokens);
    CHECK(cut.stats.rewound == 4);
    CHECK(cut.stats.retrievals == 0);
    CHECK(cut.stats.counts.evaluated == model.evaluated);
    CHECK(model.size() == cut.stats.counts.evaluated - cut.stats.counts.discarded);
    CHECK(std::ranges::equal(model.tokens(), Tokens{1, 3, 4, cut.tokens[0], cut.tokens[1], 5, 6, 7, 8}));
}

TEST_CASE("A model that gives no logits without having been stopped is an error in words") {
    struct Silent : FullNullModel {
        std::size_t silent_from = 0;
        std::span<const float> evaluate(TokenSpan tokens) {
            const std::span<const float> logits = FullNullModel::evaluate(tokens);
            return evaluations > silent_from ? std::span<const float>{} : logits;
        }
    } model;
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.schedule(Never{})};
    CHECK(error_of(ErrorCode::engine, [&] { decoder.generate(Tokens{3, 4}); }) == "the model gave no logits for 3 tokens");
    CHECK(model.size() == 3);
    model.silent_from = model.evaluations + 2;
    CHECK(error_of(ErrorCode::engine, [&] {
              decoder.generate(Tokens{3, 4}, {.ignore_eos = true});
          }) == "the model gave no logits for 1 tokens");
    CHECK(decoder.partial().tokens.size() == 2);
    model.silent_from = 1000000;
    CHECK(decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true}).tokens.size() == 5);

    struct SilentInterruptible : Silent {
        using Silent::evaluate;
        std::span<const float> evaluate(TokenSpan tokens, const std::stop_token&) { return Silent::evaluate(tokens); }
    } other;
    static_assert(InterruptibleModel<SilentInterruptible>);
    Decoder interruptible{other, nothing};
    std::stop_source source;
    CHECK(error_of(ErrorCode::engine, [&] {
              interruptible.generate(Tokens{3, 4}, options_with(source));
          }) == "the model gave no logits for 3 tokens");
}

TEST_CASE("A model that tells no tokens and gave no logits once can be used again") {
    struct Silent : NullModel {
        bool silent = true;
        std::span<const float> evaluate(TokenSpan tokens) {
            const std::span<const float> logits = NullModel::evaluate(tokens);
            return silent ? std::span<const float>{} : logits;
        }
    } model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    CHECK(error_of(ErrorCode::engine, [&] { decoder.generate(Tokens{3, 4}); }) == "the model gave no logits for 2 tokens");
    model.silent = false;
    CHECK(decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true}).tokens.size() == 5);
}

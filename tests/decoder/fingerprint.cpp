// Promise 5: what was evaluated with other weights, another adapter or another rounding is never reused.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/model/session.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

/// A model of a runtime that can change its adapter while it holds tokens.
template <class Base>
struct Adaptable : Base {
    std::uint64_t adapter = 7;
    std::uint64_t fingerprint() const { return adapter; }
};

static_assert(FingerprintedModel<Adaptable<NullModel>> && !FingerprintedModel<NullModel>);

const GenerateOptions options{.max_tokens = 6, .ignore_eos = true};
const std::string sentence =
    "the model has the fingerprint 8, but this decoder filled its cache when it was 7: weights, adapter "
    "or element of the cache have changed, and it cannot be reused; truncate it to 0, and everything is evaluated anew";

template <class Base>
void changed_between_generations() {
    Adaptable<Base> model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever};
    decoder.generate(Tokens{3, 4, 5}, options);
    CHECK(decoder.generate(Tokens{3, 4}, options).tokens.size() == 6);  // the same adapter as before
    model.adapter = 8;
    const std::size_t evaluations = model.evaluations;
    const std::size_t calls = retriever.calls;
    const std::size_t size = model.size();
    for (int i = 0; i < 2; ++i) CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(Tokens{3}, options); }) == sentence);
    CHECK(model.evaluations == evaluations);
    CHECK(retriever.calls == calls);
    CHECK(model.size() == size);
    model.adapter = 7;
    CHECK(decoder.generate(Tokens{3}, options).tokens.size() == 6);
}

template <class Base>
void changed_during_a_generation(std::size_t stride) {
    Adaptable<Base> model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{stride})};
    std::size_t tokens = 0;
    const auto change = [&](TokenId) { model.adapter = ++tokens < 3 ? 7 : 8; };
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(Tokens{3, 4, 5}, options, change); }) == sentence);
    CHECK(model.evaluations == 3);
    CHECK(decoder.partial().tokens.size() == 3);
}

}  // namespace

TEST_CASE("A model whose fingerprint changed between two generations is refused, and nothing is asked or evaluated") {
    changed_between_generations<NullModel>();
    changed_between_generations<FullNullModel>();
}

TEST_CASE("A model whose fingerprint changes during a generation is refused before its next evaluation") {
    for (const std::size_t stride : {1u, 2u, 3u, 100u}) {
        CAPTURE(stride);
        changed_during_a_generation<NullModel>(stride);
        changed_during_a_generation<FullNullModel>(stride);
    }
}

TEST_CASE("An empty model may be another one") {
    Adaptable<FullNullModel> model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    const Tokens expected = decoder.generate(Tokens{3, 4, 5}, options).tokens;
    model.truncate(0);
    model.adapter = 8;
    CHECK(decoder.generate(Tokens{3, 4, 5}, options).tokens == expected);
    model.adapter = 9;
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(Tokens{3}, options); }).find("filled its cache when it was 8") !=
          std::string::npos);
}

TEST_CASE("A session that is replaced by one of another model or another element of the cache is refused unless it is empty") {
    const Tokens prompt{3, 4, 5};
    const auto model = random_model({});
    const auto filled = [&](const std::shared_ptr<const Transformer>& weights, SessionOptions how) {
        Session session{weights, how};
        session.evaluate(Tokens{1, 3, 4});
        return session;
    };
    Session session{model};
    NoPassages nothing;
    Decoder decoder{session, nothing};
    const Tokens expected = decoder.generate(prompt, options).tokens;
    session = filled(model, {.window = 60, .piece = 2});  // the same keys and values
    CHECK(decoder.generate(prompt, options).tokens == expected);
    session = filled(model, {.cache = DType::f16});
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(prompt, options); }).find("cannot be reused") !=
          std::string::npos);
    session = filled(random_model({.seed = 2}), {});
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(prompt, options); }).find("cannot be reused") !=
          std::string::npos);
    session = Session{model, {.cache = DType::f16}};
    CHECK(decoder.generate(prompt, options).tokens.size() == 6);
}

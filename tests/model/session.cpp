#include "flashback/model/session.hpp"

#include "support/random_model.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

std::shared_ptr<const Transformer> small_model() { return random_model({.layers = 1, .vocab = 50, .window = 40}); }

template <class Call>
void check_error(ErrorCode code, const std::string& sentence, const Call& call) {
    try {
        call();
        FAIL_CHECK("no error, expected: " << sentence);
    } catch (const Error& error) {
        CHECK(error.what() == sentence);
        CHECK(to_string(error.code()) == to_string(code));
    }
}

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("A new session is empty and says what the model says") {
    const auto model = small_model();
    const Session session{model};
    CHECK(session.size() == 0);
    CHECK(session.tokens().empty());
    CHECK(session.vocab_size() == 50);
    CHECK(session.window() == 40);
    CHECK(std::ranges::equal(session.head(), std::vector<TokenId>{1}));
    CHECK(session.is_end(2));
    CHECK_FALSE(session.is_end(1));
    CHECK_FALSE(session.is_end(-1));
    CHECK(&session.model() == model.get());
}

TEST_CASE("A session cannot be copied by accident") {
    static_assert(!std::is_copy_constructible_v<Session> && !std::is_copy_assignable_v<Session>);
    static_assert(std::is_move_constructible_v<Session> && std::is_move_assignable_v<Session>);
    Session session{small_model()};
    session.evaluate(std::vector<TokenId>{3, 4});
    Session moved = std::move(session);
    const std::vector<float> logits = copy_of(moved.evaluate(std::vector<TokenId>{5}));
    CHECK(logits == copy_of(Session{small_model()}.evaluate(std::vector<TokenId>{3, 4, 5})));
}

TEST_CASE("Wrong options are refused in words") {
    const auto model = small_model();
    check_error(ErrorCode::contract, "a session needs a model, found null", [] { Session{nullptr}; });
    check_error(ErrorCode::contract, "the model was trained for 40 positions, but the session asks for a window of 41", [&] {
        Session{model, {.window = 41}};
    });
    check_error(ErrorCode::contract, "a session evaluates pieces of at least 1 token, found 0", [&] {
        Session{model, {.piece = 0}};
    });
}

TEST_CASE("A window can be smaller than the model's, and a piece larger than the window") {
    const auto model = small_model();
    Session session{model, {.window = 3, .piece = 1000}};
    CHECK(session.window() == 3);
    CHECK(copy_of(session.evaluate(std::vector<TokenId>{3, 4, 5})) ==
          copy_of(Session{model}.evaluate(std::vector<TokenId>{3, 4, 5})));
}

TEST_CASE("Wrong tokens are refused in words, and nothing changes") {
    Session session{small_model()};
    session.evaluate(std::vector<TokenId>{3, 4});
    check_error(ErrorCode::contract, "evaluate needs at least 1 token, found none", [&] { session.evaluate({}); });
    check_error(ErrorCode::contract, "evaluate needs at least 1 token, found none", [&] { session.evaluate_all({}); });
    check_error(ErrorCode::contract, "token 50 is not in the vocabulary of 50 tokens", [&] {
        session.evaluate(std::vector<TokenId>{3, 50});
    });
    check_error(ErrorCode::contract, "token -1 is not in the vocabulary of 50 tokens",
                [&] { session.evaluate_all(std::vector<TokenId>{-1}); });
    CHECK(std::ranges::equal(session.tokens(), std::vector<TokenId>{3, 4}));
}

TEST_CASE("The window can be filled to the last position and no further") {
    Session session{small_model()};
    session.evaluate(std::vector<TokenId>(39, 7));
    check_error(ErrorCode::window, "the session holds 39 of 40 positions, and 2 more do not fit", [&] {
        session.evaluate(std::vector<TokenId>{3, 4});
    });
    CHECK(session.size() == 39);
    session.evaluate(std::vector<TokenId>{3});
    CHECK(session.size() == 40);
    check_error(ErrorCode::window, "the session holds 40 of 40 positions, and 1 more do not fit",
                [&] { session.evaluate_all(std::vector<TokenId>{3}); });
    session.truncate(39);
    CHECK(session.evaluate(std::vector<TokenId>{4}).size() == 50);
}

TEST_CASE("A session cannot be cut to more than it holds") {
    Session session{small_model()};
    session.evaluate(std::vector<TokenId>{3, 4, 5});
    check_error(ErrorCode::contract, "a session of 3 tokens cannot be cut to 4", [&] { session.truncate(4); });
    CHECK(session.size() == 3);
    session.truncate(1);
    CHECK(std::ranges::equal(session.tokens(), std::vector<TokenId>{3}));
    session.truncate(0);
    CHECK(session.tokens().empty());
}

TEST_CASE("evaluate_all gives a row for each token") {
    Session session{small_model()};
    const std::vector<float> all = copy_of(session.evaluate_all(std::vector<TokenId>{3, 4, 5}));
    REQUIRE(all.size() == 150);
    for (std::size_t n = 1; n <= 3; ++n) {
        Session fresh{small_model()};
        CHECK(copy_of(std::span{all}.subspan(50 * (n - 1), 50)) == copy_of(fresh.evaluate(session.tokens().first(n))));
    }
}

TEST_CASE("A fork keeps the options of its session") {
    Session session{small_model(), {.window = 5, .piece = 2}};
    session.evaluate(std::vector<TokenId>{3, 4, 5});
    Session branch = session.fork();
    CHECK(branch.window() == 5);
    CHECK(std::ranges::equal(branch.tokens(), session.tokens()));
    CHECK(&branch.model() == &session.model());
    CHECK_THROWS_AS(branch.evaluate(std::vector<TokenId>{3, 4, 5}), Error);
    branch.evaluate(std::vector<TokenId>{3, 4});
    CHECK(branch.size() == 5);
    CHECK(session.size() == 3);
}

TEST_CASE("A model without a text head and without an end has neither") {
    const auto bare = std::const_pointer_cast<Transformer>(random_model({.layers = 1}));
    bare->text_head.clear();
    bare->text_ends.clear();
    const Session session{bare};
    CHECK(session.head().empty());
    CHECK_FALSE(session.is_end(2));
}

TEST_CASE("A fingerprint tells models and elements of the cache apart, and nothing else") {
    const auto model = small_model();
    Session session{model};
    const std::uint64_t expected = session.fingerprint();
    session.evaluate(std::vector<TokenId>{3, 4});
    CHECK(session.fingerprint() == expected);
    CHECK(session.fork().fingerprint() == expected);
    CHECK(Session{small_model(), {.window = 20, .piece = 3}}.fingerprint() == expected);
    CHECK(Session{model, {.cache = DType::f32}}.fingerprint() == expected);  // by default

    const auto other = random_model({.layers = 1, .vocab = 50, .window = 40, .seed = 2});
    const auto rounded = random_model({.layers = 1, .vocab = 50, .window = 40, .type = DType::f16});
    std::set<std::uint64_t> seen;
    std::size_t kinds = 0;
    for (const auto& weights : {model, other, rounded}) {
        for (const DType element : {DType::f32, DType::f16, DType::bf16}) {
            seen.insert(Session{weights, {.cache = element}}.fingerprint());
            ++kinds;
        }
    }
    CHECK(seen.size() == kinds);
    CHECK(seen.contains(expected));
}

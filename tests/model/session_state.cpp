// Sessions that are saved and restored: to the bit, as a whole or not at all.
#include "flashback/model/session_state.hpp"

#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_session_state {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{
    .layers = 2, .width = 20, .heads = 4, .kv_heads = 2, .head_dim = 5, .hidden = 24, .vocab = 40, .window = 300};

std::vector<std::byte> saved(const ModelPtr& model, TokenSpan tokens, DType cache) {
    PoisonedSession session{model, {.cache = cache}};
    if (!tokens.empty()) session.evaluate(tokens);
    return save_session(session);
}

/// The session goes on as one that evaluated `tokens` itself.
template <class S>
void check_goes_on(S& session, const ModelPtr& model, std::vector<TokenId> tokens, DType cache) {
    REQUIRE(std::ranges::equal(session.tokens(), tokens));
    const std::vector<TokenId> more{3, 1, 4};
    append(tokens, more);
    Session fresh{model, {.cache = cache}};
    require_exact(session.evaluate(more), fresh.evaluate(tokens), tokens.size());
}

/// A session that holds something, which a failed restore must leave as it is.
struct Untouched {
    explicit Untouched(const ModelPtr& model) : session(model) { session.evaluate(held); }

    void check(const ModelPtr& model) {
        REQUIRE(std::ranges::equal(session.tokens(), held));
        std::vector<TokenId> all = held;
        all.push_back(7);
        require_exact(session.evaluate(TokenSpan{all}.last(1)), model, all);
        session.truncate(held.size());
    }

    std::vector<TokenId> held{1, 5, 9};
    Session session;
};

template <class S>
void round_trips(const ModelPtr& model) {
    SplitMix64 random{1};
    for (const DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
        for (const std::size_t length : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 130u}) {
            CAPTURE(length);
            const std::vector<TokenId> tokens = random_tokens(random, length, shape.vocab);
            const std::vector<std::byte> bytes = saved(model, tokens, cache);
            CHECK(bytes == saved(model, tokens, cache));  // no byte is left to chance
            S session{model, {.cache = cache}};
            session.evaluate(std::vector<TokenId>{8, 9});
            CHECK(restore_session(session, bytes) == length);
            CHECK(save_session(session) == bytes);
            check_goes_on(session, model, tokens, cache);
            for (const std::size_t prefix : {0u, 1u, 16u, 64u, 100u, 129u}) {
                if (prefix > length) break;
                CHECK(restore_session(session, bytes, {.positions = prefix}) == prefix);
                check_goes_on(session, model, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(prefix)}, cache);
            }
        }
    }
}

}  // namespace

TEST_CASE("a session that is restored, or a prefix of one, goes on as if it had evaluated the tokens itself") {
    const ModelPtr model = random_model(shape);
    round_trips<PoisonedSession>(model);
    round_trips<PoisonedPagedSession>(model);
}

TEST_CASE("streams and files hold the same bytes, and what reads them takes no more than it restores") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{2};
    const std::vector<TokenId> tokens = random_tokens(random, 100, shape.vocab);
    PagedSession session{model};
    session.evaluate(tokens);
    const std::vector<std::byte> bytes = save_session(session);
    std::stringstream stream;
    save_session(session, stream);
    stream << "what follows";
    CHECK(stream.str().size() == bytes.size() + 12);
    CHECK(std::memcmp(stream.str().data(), bytes.data(), bytes.size()) == 0);
    const TemporaryFolder folder;
    const auto path = folder.path() / "session";
    save_session(session, path);
    CHECK(std::filesystem::file_size(path) == bytes.size());

    Session from_stream{model};
    CHECK(restore_session(from_stream, stream) == 100);
    check_goes_on(from_stream, model, tokens, DType::f32);
    std::string rest;
    std::getline(stream, rest);
    CHECK(rest == "what follows");
    Session from_file{model};
    CHECK(restore_session(from_file, path, {.positions = 70}) == 70);
    check_goes_on(from_file, model, {tokens.begin(), tokens.begin() + 70}, DType::f32);

    Untouched other{model};
    check_error(ErrorCode::io, "nowhere", [&] { restore_session(other.session, folder.path() / "nowhere"); });
    std::stringstream cut{stream.str().substr(0, bytes.size() - 1)};
    check_error(ErrorCode::format, "it ends in its keys and values", [&] { restore_session(other.session, cut); });
    other.check(model);
    std::ostringstream full;
    full.setstate(std::ios::badbit);
    check_error(ErrorCode::io, "a stream fails to which a session is saved", [&] { save_session(session, full); });
    check_error(ErrorCode::io, "/nowhere/", [&] { save_session(session, std::filesystem::path{"/nowhere/state"}); });
}

TEST_CASE("every byte that changes, and every length that is cut, is refused, and the session is as it was") {
    const ModelPtr model =
        random_model({.layers = 1, .width = 4, .heads = 1, .kv_heads = 1, .head_dim = 2, .hidden = 4, .vocab = 20});
    const std::vector<std::byte> bytes = saved(model, std::vector<TokenId>{1, 2, 3, 4, 5}, DType::f16);
    CHECK(bytes.size() < 1000);
    Untouched other{model};
    Session same{model, {.cache = DType::f16}};
    same.evaluate(other.held);
    const auto refused = [&](std::span<const std::byte> wrong) {
        CHECK_THROWS_AS(restore_session(same, wrong), Error);
        REQUIRE(std::ranges::equal(same.tokens(), other.held));
    };
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        CAPTURE(i);
        for (const unsigned change : {1u, 0x80u, 0xffu}) {
            std::vector<std::byte> wrong = bytes;
            wrong[i] ^= static_cast<std::byte>(change);
            refused(wrong);
        }
        refused(std::span{bytes}.first(i));
    }
    std::vector<std::byte> longer = bytes;
    longer.push_back(std::byte{0});
    refused(longer);
    CHECK_THROWS_AS(restore_session(same, longer, {.positions = 5}), Error);
    std::vector<TokenId> all = other.held;
    all.push_back(7);
    Session fresh{model, {.cache = DType::f16}};
    require_exact(same.evaluate(TokenSpan{all}.last(1)), fresh.evaluate(all), all.size());
}

TEST_CASE("what a state is not for is said in words, before anything changes") {
    const ModelPtr model = random_model(shape);
    RandomModel other_shape = shape;
    other_shape.seed = 2;
    const ModelPtr other = random_model(other_shape);
    SplitMix64 random{3};
    const std::vector<TokenId> tokens = random_tokens(random, 100, shape.vocab);
    std::vector<std::byte> bytes = saved(model, tokens, DType::f32);
    Untouched of_other{other};
    check_error(ErrorCode::contract,
                "the state 'state' was saved with a model, an adapter or a type of cache that give the fingerprint",
                [&] { restore_session(of_other.session, bytes); });
    of_other.check(other);
    check_error(ErrorCode::contract, "the state 'yesterday' was saved with", [&] {
        Session rounded{model, {.cache = DType::f16}};
        restore_session(rounded, bytes, {.name = "yesterday"});
    });
    Session small{model, {.window = 99}};
    check_error(ErrorCode::window, "the state 'state' has 100 positions, but the session holds at most 99",
                [&] { restore_session(small, bytes); });
    CHECK(restore_session(small, bytes, {.positions = 99}) == 99);
    check_goes_on(small = Session{model, {.window = 200}}, model, {}, DType::f32);

    Untouched same{model};
    check_error(ErrorCode::format, "'state' is no state of a session", [&] {
        const std::string text = "This is a text, and no state of a session.";
        restore_session(same.session, std::as_bytes(std::span{text.data(), text.size()}));
    });
    const auto with = [&](std::size_t place, std::uint64_t number) {
        std::vector<std::byte> wrong = bytes;
        std::memcpy(wrong.data() + place, &number, sizeof(number));
        return wrong;
    };
    check_error(ErrorCode::unsupported, "has version 2, expected 1", [&] { restore_session(same.session, with(8, 2)); });
    check_error(ErrorCode::unsupported, "another order of bytes",
                [&] { restore_session(same.session, with(16, 0x0807060504030201)); });
    check_error(ErrorCode::format, "it has more tokens than any session",
                [&] { restore_session(same.session, with(64, std::numeric_limits<std::uint64_t>::max())); });
    check_error(ErrorCode::format, "it ends in its tokens", [&] { restore_session(same.session, with(64, 1u << 20)); });
    same.check(model);

    // No pages are left: as it was.
    const std::size_t page = KVPagePool{PagedSession::cache_shape(model)}.page_bytes();
    const auto pages = std::make_shared<KVPagePool>(PagedSession::cache_shape(model), KVPagePoolOptions{.budget = 2 * page});
    PagedSession paged{model, {}, {}, [&](const KVShape& its) { return PagedKVCache{its, pages}; }};
    paged.evaluate(std::vector<TokenId>{1, 2});
    check_error(ErrorCode::window, "do not fit", [&] { restore_session(paged, bytes); });
    CHECK(pages->used_bytes() == page);
    CHECK(std::ranges::equal(paged.tokens(), std::vector<TokenId>{1, 2}));
}

TEST_CASE("of a text that sees passages beside it, the plain part is saved") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{4};
    const std::vector<TokenId> text = random_tokens(random, 50, shape.vocab);
    PagedSession session{model, {.block_gap = 0}};
    session.evaluate(text);
    session.see({session.block(std::vector<TokenId>{4, 5, 6}, 1, 1)});
    session.evaluate(std::vector<TokenId>{7, 8});
    const std::vector<std::byte> bytes = save_session(session);
    CHECK(restore_session(session, bytes) == 50);
    CHECK(session.blocks().empty());
    check_goes_on(session, model, text, DType::f32);
}

}  // namespace test_model_session_state

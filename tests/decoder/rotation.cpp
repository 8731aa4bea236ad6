// Full windows without a new evaluation of what stays: keys that turn, sinks, and passages that are cut.
//
// In a model of one layer, keys and values depend on the token and its position alone. There, moving them is exact but for the rounding
// of a turned key, and a text must go on as if what stays had been evaluated anew.
#include "flashback/decoder/decoder.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_state.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_rotation {

using namespace flashback;
using namespace flashback_test;

namespace {

RandomModel shape_of(std::size_t layers, std::size_t window) {
    return {.layers = layers, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = window};
}

/// Drops what another policy drops, but what stays is evaluated anew.
template <class Other>
struct Anew {
    Other other;
    std::size_t operator()(const FullWindow& full) const { return other(full); }
    Rotation rotation() const { return {.moves = false, .sinks = other.rotation().sinks}; }
};

GenerateOptions options_of(std::size_t tokens) { return {.max_tokens = tokens, .ignore_eos = true, .head = TokenBuffer{1}}; }

auto policies_of(const AnyLayout& layout, const AnyOverflow& overflow) {
    return Policies{}.schedule(EveryNTokens{16}).wrapper(MarkerTokens{3, 4}).layout(layout).overflow(overflow);
}

double farthest(std::span<const float> a, std::span<const float> b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        most = std::max(most, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    return most;
}

}  // namespace

TEST_CASE("positions that leave the middle: in one layer the rest is as if it had been evaluated at its new positions") {
    const ModelPtr model = random_model(shape_of(1, 300));
    SplitMix64 random{4};
    const TokenBuffer tokens = random_tokens(random, 200, 90);
    const TokenBuffer more = random_tokens(random, 3, 90);
    const auto check = [&](auto session, double tolerance) {
        for (const auto& range : {std::pair<std::size_t, std::size_t>{4, 70}, {0, 64}, {63, 2}, {100, 50}, {190, 10}, {5, 0}}) {
            const std::size_t first = range.first;
            const std::size_t count = range.second;
            CAPTURE(first);
            CAPTURE(count);
            session.truncate(0);
            static_cast<void>(session.evaluate(tokens));
            session.evict(first, count);
            TokenBuffer rest(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(first));
            rest.insert(rest.end(), tokens.begin() + static_cast<std::ptrdiff_t>(first + count), tokens.end());
            CHECK(std::ranges::equal(session.tokens(), rest));
            CHECK(session.plain_size() == (count == 0 ? 200 : first));
            const std::span<const float> found = session.evaluate(more);
            append(rest, more);
            CHECK(farthest(found, from_scratch(model, rest)) < tolerance);
        }
    };
    check(Session{model, {.cache = DType::f32}}, 2e-5);
    check(PagedSession{model, {.cache = DType::f32}}, 2e-5);
    check(Session{model, {.cache = DType::f16}}, 2e-2);
    check(PagedSession{model, {.cache = DType::i8}}, 2e-1);
}

TEST_CASE("what was moved is not saved, and is not taken for exact afterwards") {
    const ModelPtr model = random_model(shape_of(2, 200));
    SplitMix64 random{5};
    const TokenBuffer tokens = random_tokens(random, 150, 90);
    Session session{model};
    static_cast<void>(session.evaluate(tokens));
    session.evict(10, 40);
    std::stringstream state;
    save_session(session, state);
    Session other{model};
    CHECK(restore_session(other, state) == 10);
    // A decoder begins its next text from what is exact.
    RandomRetriever none{1, 1, 90, 1};
    const TokenBuffer held(session.tokens().begin(), session.tokens().end());
    Decoder decoder{session, none, Policies{}.schedule(Never{})};
    const Generation found = decoder.generate(held, {.max_tokens = 5, .ignore_eos = true, .head = TokenBuffer{}});
    Session fresh{model};
    CHECK(found.tokens == Decoder{fresh, none, Policies{}.schedule(Never{})}
                              .generate(held, {.max_tokens = 5, .ignore_eos = true, .head = TokenBuffer{}})
                              .tokens);
    CHECK(found.stats.counts.reused == 10);
}

TEST_CASE("10,000 tokens through a window of 512, with every policy that promises it") {
    const ModelPtr model = random_model(shape_of(1, 512));
    SplitMix64 random{6};
    const TokenBuffer prompt = random_tokens(random, 100, 90);
    const std::vector<std::pair<std::string, AnyOverflow>> all{
        {"drop oldest", AnyOverflow{DropOldest{}}},
        {"keep and rotate", AnyOverflow{KeepAndRotate{}}},
        {"attention sinks", AnyOverflow{AttentionSinks{}}},
        {"shorten, then drop", AnyOverflow{ShortenPassages{16, DropOldest{}}}},
        {"shorten, then sinks", AnyOverflow{ShortenPassages{16, AttentionSinks{}}}}};
    constexpr std::size_t many = sanitized ? 2000 : 10000;
    std::size_t dropping = 0;
    for (const auto& [label, overflow] : all) {
        const std::string& name = label;
        CAPTURE(name);
        RandomRetriever retriever{30, 60, 90, 7};
        Session session{model};
        const Generation found =
            Decoder{session, retriever, policies_of(AnyLayout{AppendPassages{}}, overflow)}.generate(prompt, options_of(many));
        CHECK(found.tokens.size() == many);
        CHECK(found.stop == StopReason::max_tokens);
        CHECK(session.size() <= 512);
        CHECK(found.stats.dropped > many - 1000);
        CHECK((found.stats.shortened > 0) == (name.find("shorten") == 0));
        CHECK(found.stats.counts.evaluated + found.stats.counts.reused == found.stats.counts.requested);
        if (name == "drop oldest") dropping = found.stats.counts.evaluated;
        if (name == "keep and rotate" || name == "attention sinks") CHECK(found.stats.counts.evaluated < dropping);
    }
}

TEST_CASE("in one layer, keys that turn give the text that a new evaluation gives") {
    const ModelPtr model = random_model(shape_of(1, 192));
    SplitMix64 random{8};
    const TokenBuffer prompt = random_tokens(random, 70, 90);
    const auto check = [&](const auto& overflow) {
        for (const AnyLayout& layout :
             {AnyLayout{AppendPassages{}}, AnyLayout{PrependPassages{}}, AnyLayout{PassagesAside{}}}) {
            const auto write = [&](const AnyOverflow& with, auto session) {
                RandomRetriever retriever{30, 30, 90, 7};
                return Decoder{session, retriever, policies_of(layout, with)}.generate(prompt, options_of(400));
            };
            const SessionOptions exactly{.cache = DType::f32};  // so that a turned key is nearly the one evaluated there
            const Generation moved = write(AnyOverflow{overflow}, Session{model, exactly});
            const Generation anew =
                write(AnyOverflow{Anew<std::remove_cvref_t<decltype(overflow)>>{overflow}}, Session{model, exactly});
            CAPTURE(std::ranges::mismatch(moved.tokens, anew.tokens).in1 - moved.tokens.begin());
            CHECK(moved.tokens.size() == 400);
            CHECK(moved.tokens == anew.tokens);
            CHECK(moved.stats.dropped == anew.stats.dropped);
            CHECK(moved.stats.counts.evaluated < anew.stats.counts.evaluated);
            CHECK(write(AnyOverflow{overflow}, PagedSession{model, exactly}).tokens == moved.tokens);
        }
    };
    check(KeepAndRotate{0.5});
    check(KeepAndRotate{0.9});
    check(AttentionSinks{4, 16});
    check(AttentionSinks{0, 1});
}

TEST_CASE("a passage that stays in place moves along with the text around it") {
    const ModelPtr model = random_model(shape_of(2, 192));
    SplitMix64 random{12};
    const TokenBuffer prompt = random_tokens(random, 70, 90);
    const auto evaluated = [&](const AnyOverflow& overflow) {
        RandomRetriever retriever{1, 30, 90, 7};  // always the same passage
        Session session{model};
        const Generation found =
            Decoder{session, retriever, policies_of(AnyLayout{Sticky{}}, overflow)}.generate(prompt, options_of(200));
        CHECK(found.tokens.size() == 200);
        return found.stats.counts.evaluated;
    };
    CHECK(evaluated(AnyOverflow{AttentionSinks{4, 16}}) < 700);  // until it leaves the window itself
    CHECK(evaluated(AnyOverflow{Anew<AttentionSinks>{AttentionSinks{4, 16}}}) > 1000);
}

TEST_CASE("fused passages in a window that rolls: the branches go on from what stays") {
    const ModelPtr model = random_model(shape_of(1, 192));
    SplitMix64 random{9};
    const TokenBuffer prompt = random_tokens(random, 70, 90);
    const auto write = [&](const auto& overflow) {
        RandomRetriever retriever{30, 30, 90, 7};
        PagedSession session{model};
        GenerateOptions options = options_of(300);
        options.passages = 3;
        return Decoder{session, retriever,
                       policies_of(AnyLayout{AppendPassages{}}, AnyOverflow{overflow}).fusion(MeanOfLogits{})}
            .generate(prompt, options);
    };
    const Generation moved = write(AttentionSinks{4, 16});
    const Generation anew = write(Anew<AttentionSinks>{AttentionSinks{4, 16}});
    CHECK(moved.tokens.size() == 300);
    CHECK(moved.tokens == anew.tokens);
    CHECK(moved.stats.counts.evaluated < anew.stats.counts.evaluated);
}

TEST_CASE("passages lose their ends before the text loses anything") {
    const ModelPtr model = random_model(shape_of(2, 160));
    SplitMix64 random{10};
    const TokenBuffer prompt = random_tokens(random, 60, 90);
    RandomRetriever retriever{30, 60, 90, 7};
    GenerateOptions options = options_of(200);
    options.passages = 2;
    const auto write = [&](const AnyOverflow& overflow) {
        Session session{model};
        return Decoder{session, retriever, policies_of(AnyLayout{AppendPassages{}}, overflow)}.generate(prompt, options);
    };
    const Generation stopped = write(AnyOverflow{StopWhenFull{}});
    const Generation cut = write(AnyOverflow{ShortenPassages{}});
    CHECK(stopped.stop == StopReason::window_full);
    CHECK(cut.stop == StopReason::window_full);
    CHECK(cut.stats.dropped == 0);
    CHECK(cut.stats.shortened > 0);
    CHECK(cut.tokens.size() == 160 - 1 - 60 + 1);  // all of the window is text at the end
    CHECK(stopped.tokens.size() < cut.tokens.size());
    CHECK(std::ranges::equal(stopped.tokens, TokenSpan{cut.tokens}.first(stopped.tokens.size())));
}

TEST_CASE("the longest passage loses tokens first, and all go when each is down to a token") {
    detail::StandingPassages standing;
    const TokenBuffer long_one{1, 2, 3, 4, 5};
    const TokenBuffer short_one{6, 7};
    const std::vector<Passage> found{{.tokens = long_one}, {.tokens = short_one}};
    standing.assign(found);
    const auto lengths = [&] {
        std::vector<std::size_t> all;
        for (const Passage& passage : standing.views()) all.push_back(passage.tokens.size());
        return all;
    };
    standing.shorten(2, 2);
    CHECK(lengths() == std::vector<std::size_t>{3, 2});
    CHECK(std::ranges::equal(standing.views()[0].tokens, TokenSpan{long_one}.first(3)));
    standing.shorten(2, 2);
    CHECK(lengths() == std::vector<std::size_t>{2, 1});
    standing.shorten(1, 2);
    CHECK(lengths() == std::vector<std::size_t>{1, 1});
    standing.shorten(1, 2);
    CHECK(standing.views().empty());
    standing.assign(found);  // of which one is read
    standing.shorten(4, 1);
    CHECK(lengths() == std::vector<std::size_t>{1, 2});
}

TEST_CASE("models that cannot move positions, and ranges that are not there, are refused in words") {
    RandomModel learned = shape_of(2, 100);
    learned.family = Family::gpt2;
    const ModelPtr fixed = random_model(learned);
    Session session{fixed};
    SplitMix64 random{11};
    const TokenBuffer prompt = random_tokens(random, 20, 90);
    RandomRetriever retriever{5, 5, 90, 1};
    check_error(ErrorCode::contract,
                "an overflow policy that moves keys and values to other positions needs a model of rotary positions", [&] {
                    Decoder{session, retriever, policies_of(AnyLayout{}, AnyOverflow{AttentionSinks{}})}.generate(
                        prompt, options_of(5));
                });
    static_cast<void>(session.evaluate(prompt));
    check_error(ErrorCode::contract, "the positions of this model are learned", [&] { session.evict(1, 1); });
    const ModelPtr model = random_model(shape_of(2, 100));
    Session rotary{model};
    static_cast<void>(rotary.evaluate(prompt));
    check_error(ErrorCode::contract, "a session of 20 tokens cannot forget 2 of them from position 19 on",
                [&] { rotary.evict(19, 2); });
    check_error(ErrorCode::contract, "a session of 20 tokens cannot forget 1 of them from position 21 on",
                [&] { rotary.evict(21, 1); });
    rotary.see({rotary.block(prompt, 1, 1)});
    check_error(ErrorCode::contract, "a session that sees 1 passages beside its text cannot forget positions",
                [&] { rotary.evict(1, 1); });
    CHECK(rotary.size() == 20);
    check_error(ErrorCode::contract, "a rolling window drops at least 1 token at a time, found 0", [] {
        AttentionSinks{4, 0};
    });
    check_error(ErrorCode::contract, "DropOldest keeps a part of the text in (0, 1], found 0", [] { KeepAndRotate{0}; });
}

}  // namespace test_decoder_rotation

#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/cached.hpp"
#include "flashback/retrieval/reranked.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include "retrieval/fake_retrievers.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_wrappers_reranked {

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;

struct World {
    Tokenizer tokenizer;
    std::shared_ptr<const Transformer> model;
    Listed passages;
    Tokens text;
};

const World& world() {
    static const World made = [] {
        const GgufFile file = GgufFile::open(FLASHBACK_TEST_MODEL);
        World w{load_tokenizer(file), load_model(file), {}, {}};
        for (const char* text :
             {"kernel. The part of an operating system that is always in memory. It schedules processes and handles "
              "interrupts.",
              "compiler. A program that translates source code into machine code, which the processor can execute.",
              "banana. A fruit.",
              "linker. A program that joins the object files that a compiler has written into one executable.",
              "cache. A small, fast memory that holds copies of data that was used recently.",
              "assembler. A program that translates assembly language into machine code."}) {
            OwnedPassage passage = passage_named(std::string{text}.substr(0, 5), 1, text);
            passage.tokens = w.tokenizer.encode(text);
            w.passages.passages.push_back(passage);
        }
        w.text = w.tokenizer.encode(
            "When a program is built, the source code is first translated into machine code by a compiler. Then "
            "the linker joins the object files into one executable file, which is loaded into memory.");
        return w;
    }();
    return made;
}

Tokens joined(std::initializer_list<TokenSpan> runs) {
    Tokens all;
    for (const TokenSpan run : runs) append(all, run);
    return all;
}

/// The log-probability of the last tokens of a text, from one evaluation of all of it.
double direct(const Tokens& all, std::size_t scored) {
    Session session{world().model};
    const std::span<const float> rows = session.evaluate_all(all);
    const std::size_t vocab = session.vocab_size();
    long double sum = 0;
    for (std::size_t i = all.size() - scored; i < all.size(); ++i) {
        const std::span<const float> row = rows.subspan((i - 1) * vocab, vocab);
        long double total = 0;
        for (const float logit : row) total += std::exp(static_cast<long double>(logit));
        sum += static_cast<long double>(row[static_cast<std::size_t>(all[i])]) - std::log(total);
    }
    return static_cast<double>(sum);
}

/// A session that is a LanguageModel and nothing more.
struct Bare {
    Session session;
    std::span<const float> evaluate(TokenSpan tokens) { return session.evaluate(tokens); }
    void truncate(std::size_t n) { session.truncate(n); }
    std::size_t size() const { return session.size(); }
    std::size_t vocab_size() const { return session.vocab_size(); }
    TokenSpan head() const { return session.head(); }
    std::size_t window() const { return session.window(); }
};

/// One that gives all logits, too.
struct Scoring : Bare {
    std::span<const float> evaluate_all(TokenSpan tokens) { return session.evaluate_all(tokens); }
};

/// One that forks.
struct Forking : Bare {
    Forking fork() const { return {{session.fork()}}; }
};

/// One whose forks evaluate in one pass.
struct Batching : Bare {
    Batching fork() const { return {{session.fork()}}; }
    static std::span<const float> evaluate_each(std::span<Batching* const> models, std::span<const TokenSpan> tokens) {
        std::vector<Session*> sessions;
        for (Batching* model : models) sessions.push_back(&model->session);
        return Session::evaluate_each(sessions, tokens);
    }
};

static_assert(!ScoringModel<Batching> && detail::BatchedBranches<Batching>);
static_assert(!ScoringModel<Bare> && ScoringModel<Scoring> && ForkableModel<Forking> && !BatchedModel<Forking>);
static_assert(detail::BatchedBranches<Session> && !detail::BatchedBranches<Forking>);

}  // namespace

TEST_CASE(
    "passages are ordered by what they make of the newest tokens, as a direct computation says, however a model evaluates") {
    const World& w = world();
    Session session{w.model};
    const TokenSpan text{w.text};
    for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{16}}) {
        const std::size_t n = w.passages.passages.size();
        std::vector<double> expected;
        std::size_t work = 0;
        for (const OwnedPassage& passage : w.passages.passages) {
            const Tokens all = joined({session.head(), passage.tokens, text});
            expected.push_back(direct(all, count));
            work += all.size() - 1;
        }
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return expected[a] > expected[b]; });
        const auto check = [&](auto model) {
            Listed listed = w.passages;
            Reranked reranked{std::ref(listed), std::ref(model), {}, ScoreNewest{count}};
            static_assert(checked_retriever<decltype(reranked)>() && decltype(reranked)::reads_context);
            const auto found = reranked.retrieve({{}, "query", text}, n);
            REQUIRE(found.size() == n);
            for (std::size_t i = 0; i < n; ++i) {
                CHECK(found[i].text == w.passages.passages[order[i]].text);
                CHECK(static_cast<double>(found[i].score) == doctest::Approx(expected[order[i]]).epsilon(1e-6));
            }
            CHECK(reranked.work() == work);
            CHECK(listed.depths == std::vector<std::size_t>{16});
            CHECK(model.size() == 0);
            std::vector<float> scores;
            for (const Passage& passage : found) scores.push_back(passage.score);
            return scores;
        };
        const std::vector<float> batched = check(Batching{{Session{w.model}}});
        CHECK(check(Session{w.model}) == batched);
        CHECK(check(Bare{Session{w.model}}) == batched);
        CHECK(check(Scoring{{Session{w.model}}}) == batched);
        CHECK(check(Forking{{Session{w.model}}}) == batched);
        if (count == 16) CHECK(w.passages.passages[order[0]].id == "linke");  // it says what the text says
    }
}

TEST_CASE("the oracle orders by the tokens that follow") {
    const World& w = world();
    Session session{w.model};
    const TokenSpan text{w.text};
    const TokenSpan known = text.first(20);
    Listed listed = w.passages;
    Reranked oracle{std::ref(listed), std::ref(session), {}, ScoreFollowing{w.text, 8}};
    const auto found = oracle.retrieve({{}, "query", known}, 2);
    REQUIRE(found.size() == 2);
    double best = -std::numeric_limits<double>::infinity();
    std::string id;
    for (const OwnedPassage& passage : w.passages.passages) {
        const double worth = direct(joined({session.head(), passage.tokens, text.first(28)}), 8);
        if (worth > best) {
            best = worth;
            id = passage.id;
        }
    }
    CHECK(found[0].id == id);
    CHECK(static_cast<double>(found[0].score) == doctest::Approx(best).epsilon(1e-6));
    // At the end there is little, then nothing, to score.
    CHECK(oracle.retrieve({{}, "query", text.first(text.size() - 1)}, 9).size() == 6);
    const std::size_t work = oracle.work();
    CHECK(ids_of(oracle.retrieve({{}, "query", text}, 9)) == ids_of(listed.retrieve({}, 9)));
    CHECK(oracle.work() == work);
    Tokens other = w.text;
    other[3] += 1;
    CHECK_THROWS_AS(oracle.retrieve({{}, "query", TokenSpan{other}.first(20)}, 2), Error);
    other = joined({text, text});
    CHECK_THROWS_AS(oracle.retrieve({{}, "query", other}, 2), Error);
    CHECK_THROWS_AS((ScoreFollowing{w.text, 0}), Error);
    CHECK_THROWS_AS(ScoreNewest{0}, Error);
    CHECK_THROWS_AS((Reranked{std::ref(listed), std::ref(session), {.context = 0}}), Error);
}

TEST_CASE("in a small window the text loses its oldest tokens, the same for all, and a passage gets half of it") {
    const World& w = world();
    const TokenSpan text{w.text};
    for (const std::size_t window : {std::size_t{24}, std::size_t{40}, std::size_t{60}}) {
        Session session{w.model, {.window = window}};
        Listed listed = w.passages;
        Reranked reranked{std::ref(listed), std::ref(session), {}, ScoreNewest{4}};
        const auto found = reranked.retrieve({{}, "query", text}, 6);
        const std::size_t room = window - session.head().size() - 4;
        std::size_t longest = 0;
        for (const OwnedPassage& passage : w.passages.passages)
            longest = std::max(longest, std::min(passage.tokens.size(), room / 2));
        const std::size_t given = std::min(text.size() - 4, room - longest);
        for (const Passage& passage : found) {
            const TokenSpan read = passage.tokens.first(std::min(passage.tokens.size(), room / 2));
            const Tokens all = joined({session.head(), read, text.last(given + 4)});
            CHECK(all.size() <= window);
            CHECK(static_cast<double>(passage.score) == doctest::Approx(direct(all, 4)).epsilon(1e-6));
        }
        CHECK(std::ranges::is_sorted(found, std::ranges::greater{}, &Passage::score));
    }
    Session tiny{w.model, {.window = 6}};
    Reranked impossible{Listed{w.passages}, std::ref(tiny), {}, ScoreNewest{4}};
    CHECK_THROWS_AS(impossible.retrieve({{}, "query", text}, 6), Error);
    Session session{w.model};
    Reranked brief{Listed{w.passages}, std::ref(session), {.context = 3}, ScoreNewest{4}};
    const Passage best = brief.retrieve({{}, "query", text}, 1)[0];
    const Tokens all = joined({session.head(), best.tokens, text.last(7)});
    CHECK(static_cast<double>(best.score) == doctest::Approx(direct(all, 4)).epsilon(1e-6));
}

TEST_CASE("a decoder's own session can rerank: it keeps what it holds, and the work is counted") {
    const World& w = world();
    const auto policies = Policies{}.schedule(EveryNTokens{6}).query(LastNTokens{12});
    const GenerateOptions options{.max_tokens = 18, .ignore_eos = true};
    const TokenSpan prompt = TokenSpan{w.text}.first(24);
    std::vector<Document> documents;
    for (const OwnedPassage& passage : w.passages.passages) documents.push_back({passage.id, "", passage.text});
    const Bm25Index index{documents, codec_of(w.tokenizer)};
    Session shared{w.model}, alone{w.model}, apart{w.model};
    Reranked by_itself{std::cref(index), std::ref(shared)}, by_another{std::cref(index), std::ref(apart)};
    Decoder one{shared, by_itself, policies}, two{alone, by_another, policies};
    const Generation a = one.generate(prompt, options), b = two.generate(prompt, options);
    CHECK(a.tokens == b.tokens);
    CHECK(a.stats.counts == b.stats.counts);
    CHECK(a.stats.counts.reused > 0);
    CHECK(a.stats.retriever_work == by_itself.work());
    CHECK(a.stats.retriever_work == b.stats.retriever_work);
    CHECK(a.stats.retriever_work > 0);
    CHECK(a.stats.model_work == 0);
    CHECK(apart.size() == 0);
}

// Null models, whose logits depend on everything that they hold.

namespace {

const Tokens context{3, 1, 4, 1, 5, 9};

/// The log-probability of tokens after others, of a null model.
double null_worth(Tokens held, TokenSpan scored) {
    double sum = 0;
    std::vector<float> logits(20);
    for (const TokenId token : scored) {
        null_logits(held, logits);
        double total = 0;
        for (const float logit : logits) total += std::exp(static_cast<double>(logit));
        sum += static_cast<double>(logits[static_cast<std::size_t>(token)]) - std::log(total);
        held.push_back(token);
    }
    return sum;
}

}  // namespace

TEST_CASE("a model without a head: something stands before what is scored, and a passage without tokens has its place") {
    RandomRetriever index{30, 4, 20, 7};
    NullModel model;
    for (std::size_t length = 0; length <= context.size(); ++length) {
        const TokenSpan known = TokenSpan{context}.first(length);
        const std::size_t given = length > 3 ? length - 3 : std::min<std::size_t>(length, 1);
        Reranked reranked{std::ref(index), std::ref(model), {.passages = 5}, ScoreNewest{3}};
        const std::vector<Passage> as_found = [&] {
            const auto found = index.retrieve({context}, 5);
            return std::vector<Passage>(found.begin(), found.end());
        }();
        const auto found = reranked.retrieve({context, {}, known}, 5);
        REQUIRE(found.size() == 5);
        if (length < 2) {
            for (std::size_t i = 0; i < 5; ++i) CHECK(found[i].tokens.data() == as_found[i].tokens.data());
            CHECK(reranked.work() == 0);
            continue;
        }
        for (const Passage& passage : found) {
            const Tokens before = joined({passage.tokens, known.first(given)});
            CHECK(static_cast<double>(passage.score) ==
                  doctest::Approx(null_worth(before, known.subspan(given))).epsilon(1e-6));
        }
        CHECK(std::ranges::is_sorted(found, std::ranges::greater{}, &Passage::score));
        CHECK(reranked.work() == model.evaluated);
        model.evaluated = 0;
        CHECK(model.size() == 0);
    }
}

TEST_CASE("depth, one passage, none, and equal ones") {
    NullModel model;
    Listed listed;
    Reranked reranked{std::ref(listed), std::ref(model), {.passages = 4}};
    CHECK(reranked.retrieve({{}, "query", context}, 2).empty());
    listed.passages = {passage_named("a", 5)};
    CHECK(reranked.retrieve({{}, "query", context}, 2)[0].score == 5);
    CHECK(model.evaluated == 0);
    listed.passages = {passage_named("a"), passage_named("b"), passage_named("c")};  // none has tokens
    CHECK(ids_of(reranked.retrieve({{}, "query", context}, 2)) == std::vector<std::string>{"a", "b"});
    CHECK(reranked.retrieve({{}, "query", context}, 0).empty());
    reranked.retrieve({{}, "query", context}, 9);
    CHECK(listed.depths == std::vector<std::size_t>{4, 4, 4, 4, 9});
}

TEST_CASE("bad logits, tokens without one, and errors of model and retriever") {
    NullModel model;
    Listed listed;
    listed.passages = {passage_named("a"), passage_named("b")};
    listed.passages[0].tokens = {1, 2};
    const auto with = [&](float bad, bool everywhere = false) {
        model.change_logits = [bad, everywhere](std::size_t, std::span<float> logits) {
            logits[7] = bad;
            if (everywhere) std::ranges::fill(logits, bad);
        };
        Reranked reranked{std::ref(listed), std::ref(model)};
        return ids_of(reranked.retrieve({{}, "query", context}, 2));
    };
    constexpr float inf = std::numeric_limits<float>::infinity();
    CHECK_THROWS_AS(with(std::numeric_limits<float>::quiet_NaN()), Error);
    CHECK_THROWS_AS(with(inf), Error);
    CHECK_THROWS_AS(with(-inf, true), Error);
    CHECK_THROWS_AS(with(std::numeric_limits<float>::quiet_NaN(), true), Error);
    CHECK(with(-inf).size() == 2);  // a masked token, which is not scored
    CHECK(with(3e38f).size() == 2);
    model.change_logits = [](std::size_t, std::span<float> logits) {
        logits[9] = -inf;
    };  // one that is: all are worth -infinity
    Reranked masked{std::ref(listed), std::ref(model)};
    CHECK(ids_of(masked.retrieve({{}, "query", context}, 2)) == std::vector<std::string>{"a", "b"});
    CHECK(masked.retrieve({{}, "query", context}, 2)[1].score == -inf);
    model.change_logits = {};
    Reranked plain{std::ref(listed), std::ref(model)};
    const Tokens beyond{3, 1, 20}, negative{3, 1, -1};
    CHECK_THROWS_AS(plain.retrieve({{}, "query", beyond}, 2), Error);
    CHECK_THROWS_AS(plain.retrieve({{}, "query", negative}, 2), Error);
    model.fail_at = model.evaluations + 1;
    CHECK_THROWS_AS(plain.retrieve({{}, "query", context}, 2), NullModelError);
    model.fail_at = NullModel::never;
    CHECK(plain.retrieve({{}, "query", context}, 2).size() == 2);
    Echo failing;
    failing.before = [](std::size_t) { throw std::domain_error{"gone"}; };
    Reranked broken{std::ref(failing), std::ref(model)};
    CHECK_THROWS_AS(broken.retrieve({{}, "query", context}, 2), std::domain_error);
}

TEST_CASE("a cache around a reranker asks anew for another context, and an AnyRetriever holds both") {
    RandomRetriever index{30, 4, 20, 7};
    AnyRetriever any{Cached{Reranked{std::ref(index), NullModel{}}}};
    const Tokens other{2, 7, 1, 8, 2, 8};
    const auto ask = [&](const Tokens& known) {
        std::vector<float> scores;
        for (const Passage& passage : any.retrieve({context, {}, known}, 3)) scores.push_back(passage.score);
        return scores;
    };
    const std::vector<float> first = ask(context);
    const std::size_t work = any.work();
    CHECK(work > 0);
    CHECK(ask(context) == first);
    CHECK(any.work() == work);
    CHECK(ask(other) != first);
    CHECK(any.work() == 2 * work);
}

}  // namespace test_retrieval_wrappers_reranked

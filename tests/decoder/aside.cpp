// Passages beside the text: what is evaluated, and what sees what, over a model that is a pure function of just that.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/errors.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_aside {

using namespace flashback;
using namespace flashback_test;

namespace {

/// Logits are a function of all tokens, and of the blocks with what each sees and where it stands, where they were first seen.
class BlockNullModel {
public:
    using Block = std::shared_ptr<const Tokens>;

    explicit BlockNullModel(std::size_t window = 100000) : window_(window), logits_(20) {}

    std::span<const float> evaluate(TokenSpan tokens) {
        if (tokens.empty() || size() + tokens.size() > window_) throw std::logic_error("no tokens, or too many");
        if (evaluations++ == fail_at) throw NullModelError{};
        append(held_, tokens);
        work_ += tokens.size();
        null_logits(state(), logits_);
        return logits_;
    }
    void truncate(std::size_t n) {
        if (n > size()) throw std::logic_error("cut to more than is held");
        held_.resize(n);
        const bool forgets = !sights_.empty() && sights_.back().at >= n;
        while (!sights_.empty() && sights_.back().at >= n) sights_.pop_back();
        if (forgets && !sights_.empty()) sights_.push_back({n, {}});
    }
    Block block(TokenSpan tokens, std::size_t sees, std::size_t first_position) {
        if (tokens.empty() || sees > plain_size()) throw std::logic_error("an impossible block");
        Tokens made(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(sees));
        made.push_back(-static_cast<TokenId>(first_position) - 10);
        append(made, tokens);
        if (!stores || stored_.insert(made).second) work_ += tokens.size();
        return std::make_shared<const Tokens>(made);
    }
    void see(const std::vector<Block>& blocks) {
        if (!sights_.empty() && sights_.back().at == size()) sights_.pop_back();
        if (blocks.empty() && sights_.empty()) return;
        Tokens all{-2};
        for (const Block& block : blocks) {
            append(all, *block);
            all.push_back(-2);
        }
        sights_.push_back({size(), all});
    }
    std::size_t plain_size() const { return sights_.empty() ? size() : std::min(sights_.front().at, size()); }
    std::size_t size() const { return held_.size(); }
    std::size_t vocab_size() const { return logits_.size(); }
    std::size_t window() const { return window_; }
    std::size_t work() const { return work_; }
    TokenSpan tokens() const { return held_; }
    TokenSpan head() const { return head_; }

    /// Everything that the next logits depend on.
    Tokens state() const {
        Tokens all;
        std::size_t next = 0;
        for (std::size_t i = 0; i <= size(); ++i) {
            if (next < sights_.size() && sights_[next].at == i) append(all, sights_[next++].blocks);
            if (i < size()) all.push_back(held_[i]);
        }
        return all;
    }

    bool stores = true;
    std::size_t evaluations = 0;
    std::size_t fail_at = NullModel::never;

private:
    struct Sight {
        std::size_t at;
        Tokens blocks;
    };

    std::size_t window_;
    std::vector<float> logits_;
    Tokens head_{1};
    Tokens held_;
    std::vector<Sight> sights_;
    std::set<Tokens> stored_;
    std::size_t work_ = 0;
};
static_assert(BlockModel<BlockNullModel> && BlockModel<testing::NullBlockModel>);

/// The same without `tokens()` and `work()`.
class MeanBlockModel {
public:
    std::span<const float> evaluate(TokenSpan tokens) { return all.evaluate(tokens); }
    void truncate(std::size_t n) { all.truncate(n); }
    auto block(TokenSpan tokens, std::size_t sees, std::size_t first) { return all.block(tokens, sees, first); }
    void see(const std::vector<BlockNullModel::Block>& blocks) { all.see(blocks); }
    std::size_t plain_size() const { return all.plain_size(); }
    std::size_t size() const { return all.size(); }
    std::size_t vocab_size() const { return all.vocab_size(); }
    TokenSpan head() const { return all.head(); }

    BlockNullModel all;
};

/// A few passages, which come again and again.
class FewPassages {
public:
    explicit FewPassages(std::size_t tokens, std::size_t different = 3) {
        for (std::size_t i = 0; i < different; ++i) texts_.push_back(Tokens(tokens, static_cast<TokenId>(3 + i)));
    }
    std::span<const Passage> retrieve(const Query& /*query*/, std::size_t k) {
        found_.clear();
        for (std::size_t i = 0; i < k; ++i)
            found_.push_back(
                Passage{.id = "p", .title = "", .text = "", .tokens = texts_[(calls_ + i) % texts_.size()], .score = 1});
        ++calls_;
        return found_;
    }

private:
    std::vector<Tokens> texts_;
    std::vector<Passage> found_;
    std::size_t calls_ = 0;
};

/// Blocks of passages after a head of one token, as a state has them.
Tokens blocks_of(const std::vector<Tokens>& passages) {
    Tokens all{-2};
    for (const Tokens& passage : passages) {
        append(all, Tokens{1, -11});
        append(all, passage);
        all.push_back(-2);
    }
    return all;
}

/// What the model should hold and see if `context` is read with `passages` beside it.
Tokens wanted_state(const Tokens& context, const std::vector<Tokens>& passages, std::size_t seeing, std::size_t generated) {
    const std::size_t see = std::min(seeing, context.size() - generated) + generated;
    Tokens all{1};
    all.insert(all.end(), context.begin(), context.end() - static_cast<std::ptrdiff_t>(see));
    append(all, blocks_of(passages));
    all.insert(all.end(), context.end() - static_cast<std::ptrdiff_t>(see), context.end());
    return all;
}

TokenId likeliest(const Tokens& state, TokenSpan masked = {}) {
    std::vector<float> logits(20);
    null_logits(state, logits);
    for (const TokenId id : masked) logits[static_cast<std::size_t>(id)] = -1;
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace

TEST_CASE("17 tokens a retrieval if the passages are stored, and those of new passages besides") {
    BlockNullModel model;
    FewPassages retriever{128};
    const Generation made = Decoder{model, retriever, Policies{}.schedule(EveryNTokens{16}).layout(PassagesAside{})}.generate(
        random_prompt(100), {.max_tokens = 16 * 8});
    REQUIRE(made.retrievals.size() == 8);
    CHECK(made.retrievals[0].counts == TokenCounts{101 + 128, 101 + 128, 0, 0});
    for (std::size_t i = 1; i < 8; ++i) {
        CAPTURE(i);
        // The newest token at the last retrieval and the 15 evaluated since saw its passage: these become plain text, and the
        // newest one sees the new passage.
        const std::size_t all = 101 + 16 * i;
        const std::size_t evaluated = i < 3 ? 17 + 128 : 17;
        CHECK(made.retrievals[i].counts == TokenCounts{all + 128, evaluated, all + 128 - evaluated, 16});
    }
    CHECK(made.stats.model_work == 0);

    BlockNullModel forgetful;
    forgetful.stores = false;
    FewPassages again{128};
    const Generation anew = Decoder{forgetful, again, Policies{}.schedule(EveryNTokens{16}).layout(PassagesAside{})}.generate(
        random_prompt(100), {.max_tokens = 16 * 8});
    CHECK(anew.tokens == made.tokens);
    CHECK(anew.retrievals[7].counts.evaluated == 17 + 128);
}

TEST_CASE("the newest tokens see the passages, and nothing else does") {
    for (const std::size_t seeing : {1u, 2u, 5u, 40u}) {
        for (const std::size_t passages : {1u, 3u}) {
            CAPTURE(seeing);
            CAPTURE(passages);
            for (const bool typed : {false, true}) {
                BlockNullModel model;
                FewPassages retriever{4};
                const GenerateOptions options{.max_tokens = 23, .passages = passages};
                const Tokens prompt = random_prompt(7);
                const auto policies = Policies{}.schedule(EveryNTokens{5});
                Generation made;
                if (typed) {
                    made =
                        Decoder{model, retriever, policies.layout(PassagesAside{{.seeing = seeing}})}.generate(prompt, options);
                } else {
                    made = Decoder{model, retriever, policies.layout(AnyLayout{PassagesAside{{.seeing = seeing}}})}.generate(
                        prompt, options);
                }
                FewPassages same{4};
                Tokens context = prompt;
                std::vector<Tokens> beside;
                for (std::size_t i = 0; i < 23; ++i) {
                    if (i % 5 == 0) {
                        beside.clear();
                        for (const Passage& passage : same.retrieve({}, passages))
                            beside.emplace_back(passage.tokens.begin(), passage.tokens.end());
                    }
                    const TokenId next = likeliest(wanted_state(context, beside, seeing, i % 5));
                    CHECK(made.tokens[i] == next);
                    context.push_back(next);
                }
                CHECK(model.plain_size() == 1 + 7 + 20 - std::min<std::size_t>(seeing, 27));
            }
        }
    }
}

TEST_CASE("joined passages are one block") {
    BlockNullModel model;
    FewPassages retriever{4};
    const auto policies = Policies{}.layout(PassagesAside{{.joined = true}}).wrapper(MarkerTokens{18, 19});
    const Generation made = Decoder{model, retriever, policies}.generate(Tokens{7, 8}, {.max_tokens = 9, .passages = 2});
    Tokens context{7, 8};
    for (std::size_t i = 0; i < 9; ++i) {
        const TokenId next = likeliest(wanted_state(context, {{18, 3, 3, 3, 3, 19, 18, 4, 4, 4, 4, 19}}, 1, i), Tokens{18, 19});
        CHECK(made.tokens[i] == next);
        context.push_back(next);
    }
}

TEST_CASE("what was generated keeps what it saw, if it need not be exact: 1 token a retrieval") {
    for (const bool drops : {false, true}) {
        CAPTURE(drops);
        BlockNullModel model;
        FewPassages retriever{4};
        const auto schedule = [drops](const StepView& step) {
            if (step.generated() == 15 && drops) return Decision::drop_passages();
            return step.generated() % 5 == 0 && (step.generated() < 15 || !drops) ? Decision::retrieve() : Decision::go_on();
        };
        const auto policies = Policies{}.schedule(schedule).layout(PassagesAside{{.exact = false}});
        Decoder decoder{model, retriever, policies};
        const Tokens prompt = random_prompt(7);
        const Generation made = decoder.generate(prompt, {.max_tokens = 23});
        FewPassages same{4};
        Tokens context = prompt;
        Tokens state{1};
        append(state, TokenSpan{prompt}.first(6));
        for (std::size_t i = 0; i < 23; ++i) {
            if (i % 5 == 0 && (i < 15 || !drops)) {
                const TokenSpan found = same.retrieve({}, 1)[0].tokens;
                append(state, blocks_of({Tokens(found.begin(), found.end())}));
            } else if (i == 15) {
                state.push_back(-2);
            }
            state.push_back(context.back());
            CHECK(made.tokens[i] == likeliest(state));
            context.push_back(made.tokens[i]);
        }
        CHECK(model.state() == state);
        CHECK(model.plain_size() == 7);
        for (std::size_t i = 1; i < made.retrievals.size(); ++i) {
            const std::size_t all = 8 + 5 * i;
            const std::size_t evaluated = i < 3 ? 1 + 4 : 1;
            CHECK(made.retrievals[i].counts == TokenCounts{all + 4, evaluated, all + 4 - evaluated, 0});
        }
        // Another layout in the same session reads it all again.
        BlockNullModel fresh;
        const auto append_all = Policies{}.schedule(Once{});
        CHECK(Decoder{model, retriever, append_all}.generate(prompt, {.max_tokens = 4}).stats.counts.reused <= 7);
        FewPassages one{4};
        FewPassages other{4};
        model.truncate(0);
        decoder.generate(prompt, {.max_tokens = 23});
        CHECK(Decoder{model, one, append_all}.generate(prompt, {.max_tokens = 4}).tokens ==
              Decoder{fresh, other, append_all}.generate(prompt, {.max_tokens = 4}).tokens);
    }
}

TEST_CASE("a marked passage is a block with its marks, which are never generated") {
    BlockNullModel model;
    FewPassages retriever{3, 1};
    const auto policies = Policies{}.layout(PassagesAside{}).wrapper(MarkerTokens{18, 19});
    const Generation made = Decoder{model, retriever, policies}.generate(Tokens{7, 8}, {.max_tokens = 9});
    Tokens context{7, 8};
    for (std::size_t i = 0; i < 9; ++i) {
        const TokenId next = likeliest(wanted_state(context, {{18, 3, 3, 3, 19}}, 1, i), Tokens{18, 19});
        CHECK(made.tokens[i] == next);
        context.push_back(next);
    }
}

TEST_CASE("rewinds, a full window and dropped passages write what a run from nothing writes") {
    struct Script {
        std::size_t back;
        Decision operator()(const StepView& step) const {
            if (step.retrievals == 0) return true;
            if (step.since_retrieval == 6 && step.retrievals % 3 == 2 && !step.passages.empty())
                return Decision::drop_passages();
            if (step.since_retrieval < 7) return false;
            return Decision::retrieve(std::min(back, step.generated()));
        }
    };
    for (const std::size_t back : {0u, 1u, 3u}) {
        for (const std::size_t window : {40u, 1000u}) {
            for (const std::size_t seeing : {1u, 4u}) {
                CAPTURE(back);
                CAPTURE(window);
                CAPTURE(seeing);
                const auto policies =
                    Policies{}.schedule(Script{back}).layout(PassagesAside{{.seeing = seeing}}).overflow(DropOldest{0.5});
                const GenerateOptions options{.max_tokens = 60, .max_rewinds = 12};
                const auto run = [&](auto& model, const auto& with) {
                    FewPassages retriever{5};
                    return Decoder{model, retriever, with}.generate(random_prompt(11), options);
                };
                BlockNullModel model{window}, anew{window}, with_past{window};
                const Generation made = run(model, policies);
                CHECK(made.tokens.size() > 40);
                CHECK(run(anew, policies.reuse(RecomputeAll{})).tokens == made.tokens);
                // It was let see blocks that no token sees yet; and then it has a past.
                with_past.evaluate(Tokens{1, 5});
                with_past.see({with_past.block(Tokens{9}, 1, 1)});
                CHECK(run(with_past, policies).tokens == made.tokens);
                CHECK(run(with_past, policies).tokens == made.tokens);
                MeanBlockModel mean;
                if (window == 1000) CHECK(run(mean, policies).tokens == made.tokens);
                CHECK(made.stats.counts.evaluated + made.stats.counts.reused == made.stats.counts.requested);
                CHECK((window == 40) == (made.stats.dropped > 0));
            }
        }
    }
}

TEST_CASE("text without passages does not see those of before") {
    BlockNullModel model;
    FewPassages retriever{5};
    Decoder aside{model, retriever, Policies{}.layout(PassagesAside{})};
    const Tokens prompt = random_prompt(12);
    aside.generate(prompt, {.max_tokens = 4});
    CHECK(model.plain_size() < model.size());
    Decoder none{model, retriever, Policies{}.schedule(Never{})};
    const Generation after = none.generate(prompt, {.max_tokens = 8});
    BlockNullModel fresh;
    CHECK(Decoder{fresh, retriever, Policies{}.schedule(Never{})}.generate(prompt, {.max_tokens = 8}).tokens == after.tokens);
    CHECK(after.stats.counts.reused == 12);  // the plain text of the other generation, all but its newest token
}

TEST_CASE("a failure at any evaluation leaves a decoder that goes on rightly") {
    const auto policies = Policies{}.schedule(EveryNTokens{4}).layout(PassagesAside{{.seeing = 2}});
    const Tokens prompt = random_prompt(9);
    BlockNullModel sound;
    FewPassages retriever{5, 1};
    const Generation expected = Decoder{sound, retriever, policies}.generate(prompt, {.max_tokens = 18});
    for (std::size_t at = 0; at < sound.evaluations; ++at) {
        CAPTURE(at);
        BlockNullModel model;
        Decoder decoder{model, retriever, policies};
        model.fail_at = at;
        CHECK_THROWS_AS(decoder.generate(prompt, {.max_tokens = 18}), NullModelError);
        const TokenCounts counts = decoder.partial().stats.counts;
        CHECK(counts.evaluated + counts.reused == counts.requested);
        CHECK(decoder.generate(prompt, {.max_tokens = 18}).tokens == expected.tokens);

        MeanBlockModel mean;
        Decoder other{mean, retriever, policies};
        mean.all.fail_at = at;
        CHECK_THROWS_AS(other.generate(prompt, {.max_tokens = 18}), NullModelError);
        CHECK(other.generate(prompt, {.max_tokens = 18}).tokens == expected.tokens);
    }
}

TEST_CASE("passages that no token has seen yet are forgotten, too") {
    bool asks = true;
    const auto policies =
        Policies{}.schedule([&asks](const StepView& step) { return asks && step.retrievals == 0; }).layout(PassagesAside{});
    const Tokens prompt = random_prompt(9);
    FewPassages retriever{5};
    const auto plain_run = [&] {
        asks = false;
        BlockNullModel fresh;
        return Decoder{fresh, retriever, policies}.generate(prompt, {.max_tokens = 5}).tokens;
    };
    const Tokens expected = plain_run();
    // After the text, all but its newest token, was evaluated, and the passage was seen.
    asks = true;
    MeanBlockModel mean;
    Decoder decoder{mean, retriever, policies};
    mean.all.fail_at = 1;
    CHECK_THROWS_AS(decoder.generate(prompt, {.max_tokens = 5}), NullModelError);
    asks = false;
    CHECK(decoder.generate(prompt, {.max_tokens = 5}).tokens == expected);
    // By the hand of somebody else.
    BlockNullModel model;
    model.evaluate(Tokens{1, prompt[0], prompt[1]});
    model.see({model.block(Tokens{9}, 1, 1)});
    CHECK(Decoder{model, retriever, policies}.generate(prompt, {.max_tokens = 5}).tokens == expected);
}

TEST_CASE("a branch of a generator that is about to see passages has views of its own") {
    const auto policies = Policies{}.schedule(EveryNTokens{3}).layout(PassagesAside{});
    BlockNullModel model;
    FewPassages retriever{5};
    Generator first{policies};
    const auto answer = [](auto& generator, BlockNullModel& to, FewPassages& from) {
        const Need need = generator.need();
        switch (need.kind) {
            case Need::Kind::search: generator.found(from.retrieve(need.query, need.passages)); break;
            case Need::Kind::truncate:
                to.truncate(need.length);
                generator.truncated(to.size());
                break;
            case Need::Kind::evaluate: {
                const auto logits = to.evaluate(need.tokens);
                generator.evaluated(logits, to.size());
                break;
            }
            case Need::Kind::see: generator.seen(see_passages(to, need.beside, need.length)); break;
            default: generator.resume();
        }
    };
    const Tokens prompt = random_prompt(9);
    first.start(prompt, {.max_tokens = 9}, {.vocab_size = 20, .head = model.head(), .holds_blocks = true});
    while (first.need().kind != Need::Kind::see) answer(first, model, retriever);
    auto branch = std::make_unique<decltype(first)>(first);
    BlockNullModel other = model;
    FewPassages others = retriever;
    const Tokens passage(5, 3);
    while (first.need().kind != Need::Kind::done) answer(first, model, retriever);
    CHECK(std::ranges::equal(branch->need().beside[0], passage));
    while (branch->need().kind != Need::Kind::done) answer(*branch, other, others);
    FewPassages again{5};
    BlockNullModel fresh;
    CHECK(branch->take().tokens == Decoder{fresh, again, policies}.generate(prompt, {.max_tokens = 9}).tokens);
}

TEST_CASE("an engine that lies about passages is found out") {
    Generator generator{Policies{}.layout(PassagesAside{})};
    const std::vector<float> logits(20);
    generator.start(Tokens{3, 4}, {.max_tokens = 9}, {.vocab_size = 20, .holds_blocks = true});
    check_error(ErrorCode::contract, "was given the answer to see, but it needs search", [&] { generator.seen(0); });
    generator.start(Tokens{3, 4}, {.max_tokens = 9}, {.vocab_size = 20, .holds_blocks = true});
    const Tokens passage{5, 6, 7};
    const std::vector<Passage> found{Passage{.tokens = passage}};
    generator.found(found);
    generator.evaluated(logits, 1);
    CHECK(generator.need().kind == Need::Kind::see);
    check_error(ErrorCode::engine, "the model evaluated 4 tokens to see passages of 3", [&] { generator.seen(4); });
}

TEST_CASE("a model that costs nothing holds blocks, too") {
    testing::NullBlockModel model{20};
    testing::NullRetriever retriever{128, 20};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{16}).layout(PassagesAside{})};
    const Generation made = decoder.generate(random_prompt(50), {.max_tokens = 48});
    CHECK(made.tokens.size() == 48);
    CHECK(made.retrievals[2].counts.evaluated == 17 + 128);
    CHECK(model.plain_size() == 50 + 32 - 1);
    check_error(ErrorCode::contract, "a block sees 999 positions", [&] { model.block(Tokens{1}, 999, 1); });
}

}  // namespace test_decoder_aside

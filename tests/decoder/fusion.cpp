// Generations whose passages are fused: token by token against branches that are evaluated from scratch.
#include "flashback/policy/fusion.hpp"

#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_fusion.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/sanitizer.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_fusion {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 2, .width = 24, .head_dim = 6, .hidden = 40, .vocab = 90, .window = 320};
constexpr std::size_t stride = 6;
constexpr std::size_t query_tokens = 8;
const TokenBuffer head{1};
const MarkerTokens markers{3, 4};

enum class Where { behind, in_front, beside };

AnyLayout layout_of(Where where) {
    if (where == Where::in_front) return AnyLayout{PrependPassages{}};
    if (where == Where::beside) return AnyLayout{PassagesAside{{.seeing = 2}}};
    return AnyLayout{AppendPassages{}};
}

/// A session that is no BatchedModel and holds no blocks.
class PlainModel {
public:
    explicit PlainModel(ModelPtr model) : session_(std::move(model)) {}
    explicit PlainModel(Session session) : session_(std::move(session)) {}
    std::span<const float> evaluate(TokenSpan tokens) { return session_.evaluate(tokens); }
    void truncate(std::size_t size) { session_.truncate(size); }
    std::size_t size() const { return session_.size(); }
    std::size_t vocab_size() const { return session_.vocab_size(); }
    std::size_t window() const { return session_.window(); }
    PlainModel fork() const { return PlainModel{session_.fork()}; }

private:
    Session session_;
};

/// What the decoder should write: each branch is evaluated from scratch for each token.
struct Written {
    std::vector<TokenId> tokens;
};

template <class Fusion>
Written write_from_scratch(const ModelPtr& model, Where where, Fusion fusion, RandomRetriever retriever, TokenSpan prompt,
                           std::size_t count, std::size_t passages) {
    Written written;
    TokenBuffer context(prompt.begin(), prompt.end());
    std::vector<TokenBuffer> found;
    std::vector<float> scores;
    std::size_t planned = 0;  // tokens of the context at the last retrieval
    for (std::size_t n = 0; n < count; ++n) {
        if (n % stride == 0) {
            planned = context.size();
            const TokenSpan query = TokenSpan{context}.last(std::min(query_tokens, context.size()));
            found.clear();
            scores.clear();
            for (const Passage& passage : retriever.retrieve({.tokens = query}, passages)) {
                found.emplace_back(passage.tokens.begin(), passage.tokens.end());
                scores.push_back(passage.score);
            }
            fusion.begin(scores);
        }
        std::vector<PassageGroup> groups;
        fusion.groups(found.size(), groups);
        std::vector<float> rows;
        for (const PassageGroup& group : groups) {
            std::vector<TokenBuffer> wrapped;
            for (std::size_t i = group.first; i < group.first + group.count; ++i) {
                if (!group.joined || i == group.first) wrapped.push_back({3});
                append(wrapped.back(), found[i]);
                if (!group.joined || i + 1 == group.first + group.count) wrapped.back().push_back(4);
            }
            Session session{model};
            const TokenSpan text{context};
            TokenBuffer all = head;
            std::span<const float> logits;
            if (where == Where::beside) {
                append(all, text.first(planned - 2));
                static_cast<void>(session.evaluate(all));
                std::vector<std::shared_ptr<const Session::Block>> blocks;
                for (const TokenBuffer& block : wrapped) blocks.push_back(session.block(block, 1, 1));
                if (!blocks.empty()) session.see(std::move(blocks));
                logits = session.evaluate(text.subspan(planned - 2));
            } else {
                for (const TokenBuffer& passage : wrapped)
                    if (where == Where::in_front) append(all, passage);
                append(all, text.first(planned));
                for (const TokenBuffer& passage : wrapped)
                    if (where == Where::behind) append(all, passage);
                append(all, text.subspan(planned));
                logits = session.evaluate(all);
            }
            rows.insert(rows.end(), logits.begin(), logits.end());
            for (const TokenId marker : {3, 4})
                rows[rows.size() - shape.vocab + static_cast<std::size_t>(marker)] = -std::numeric_limits<float>::infinity();
        }
        std::vector<float> out(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(shape.vocab));
        const LogitRows all_rows{rows, shape.vocab};
        if (groups.size() > 1) fusion(all_rows, out);
        const auto token = static_cast<TokenId>(std::ranges::max_element(out) - out.begin());
        written.tokens.push_back(token);
        context.push_back(token);
        if (groups.size() > 1) fusion.took(all_rows, token);
    }
    return written;
}

auto policies_of(Where where, const AnyFusion& fusion) {
    return Policies{}
        .schedule(EveryNTokens{stride})
        .query(LastNTokens{query_tokens})
        .wrapper(markers)
        .layout(layout_of(where))
        .fusion(fusion);
}

GenerateOptions options_of(std::size_t tokens, std::size_t passages) {
    return {.max_tokens = tokens, .passages = passages, .ignore_eos = true, .head = head};
}

std::vector<std::pair<std::string, AnyFusion>> all_fusions() {
    return {{"first", AnyFusion{FirstPassage{}}},         {"concatenate", AnyFusion{Concatenate{}}},
            {"joined", AnyFusion{ConcatenateJoined{}}},   {"mean", AnyFusion{MeanOfLogits{}}},
            {"mixture", AnyFusion{WeightedMixture{0.5}}}, {"sequence", AnyFusion{RagSequence{}}},
            {"contrast", AnyFusion{ContrastWithout{0.7}}}};
}

template <class Model>
void check_against_scratch(Where where, std::size_t passages) {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{5};
    const TokenBuffer prompt = random_tokens(random, 40, shape.vocab);
    for (const auto& [name, fusion] : all_fusions()) {
        const std::string& label = name;
        CAPTURE(label);
        CAPTURE(passages);
        RandomRetriever retriever{20, 30, shape.vocab, 7};
        const Written expected = write_from_scratch(model, where, fusion, retriever, prompt, 20, passages);
        Model session{model};
        Decoder decoder{session, retriever, policies_of(where, fusion)};
        const Generation first = decoder.generate(prompt, options_of(20, passages));
        CHECK(first.tokens == expected.tokens);
        CHECK(first.stats.counts.evaluated + first.stats.counts.reused == first.stats.counts.requested);
        // A second generation over what the first left is the same.
        CHECK(decoder.generate(prompt, options_of(20, passages)).tokens == expected.tokens);
    }
}

}  // namespace

TEST_CASE("fused generations are those of branches evaluated from scratch, token by token") {
    for (const std::size_t passages : {1u, 2u, 4u}) {
        if (sanitized && passages == 1) continue;
        for (const Where where : {Where::behind, Where::in_front, Where::beside}) {
            CAPTURE(static_cast<int>(where));
            check_against_scratch<Session>(where, passages);
            check_against_scratch<PagedSession>(where, passages);
        }
    }
    check_against_scratch<PlainModel>(Where::behind, 3);
}

TEST_CASE("k passages behind the text cost the stride once, and each its passage and its tokens") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{6};
    const TokenBuffer prompt = random_tokens(random, 50, shape.vocab);
    constexpr std::size_t k = 4, length = 10;
    struct {
        std::vector<TokenBuffer> passages;
        std::vector<Passage> found;
        std::span<const Passage> retrieve(const Query&, std::size_t count) {
            found.clear();
            for (std::size_t i = 0; i < count; ++i) found.push_back({.tokens = passages[i]});
            return found;
        }
    } retriever;
    for (std::size_t i = 0; i < k; ++i) retriever.passages.push_back(random_tokens(random, length, shape.vocab));
    PagedSession session{model};
    Decoder decoder{session, retriever, policies_of(Where::behind, AnyFusion{MeanOfLogits{}})};
    const Generation found = decoder.generate(prompt, options_of(2 * stride, k));
    const std::size_t text = head.size() + prompt.size();
    const Statistics& stats = found.stats;
    REQUIRE(stats.branches.size() == k);
    for (const TokenCounts& branch : stats.branches) {
        CHECK(branch.evaluated ==
              2 * (length + 1 + stride - 1));  // at each retrieval a passage, but for the marker in front, and single tokens
        CHECK(branch.reused == (text + 1) + (text + stride + 1));
        CHECK(branch.requested == branch.evaluated + branch.reused);
    }
    CHECK(stats.counts.evaluated ==
          text + 1 + stride + 1 + k * stats.branches[0].evaluated);  // the prompt, a stride and a marker: once
    CHECK(stats.counts.reused == text + k * stats.branches[0].reused);
    CHECK(stats.counts.requested == stats.counts.evaluated + stats.counts.reused);
    CHECK(stats.counts.discarded ==
          1 + k * (length + 2 + stride - 1));  // a marker of the text, and by all branches, at the second retrieval
    CHECK(session.size() == text + stride + 1);
    CHECK(found.retrievals[1].counts.evaluated == stride + 1 + k * (length + 1));

    // In front of the text nothing is shared, but a passage that is found again keeps what was read after it.
    Decoder in_front{session, retriever, policies_of(Where::in_front, AnyFusion{MeanOfLogits{}})};
    const Generation again = in_front.generate(prompt, options_of(2 * stride, k));
    CHECK(again.retrievals[0].counts.evaluated == 1 + k * (length + 1 + prompt.size()));
    CHECK(again.retrievals[1].counts.evaluated == k);  // the newest token of each
    auto recompute = policies_of(Where::in_front, AnyFusion{MeanOfLogits{}}).reuse(RecomputeAll{});
    Decoder anew{session, retriever, recompute};
    const Generation whole = anew.generate(prompt, options_of(2 * stride, k));
    CHECK(whole.retrievals[1].counts.evaluated == head.size() + 1 + k * (length + 1 + prompt.size() + stride));
    CHECK(whole.tokens == again.tokens);
}

TEST_CASE("a fusion of one passage is no fusion: the same tokens, counts and cache") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{8};
    const TokenBuffer prompt = random_tokens(random, 33, shape.vocab);
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    Session alone{model};
    const Generation expected =
        Decoder{alone, retriever, policies_of(Where::behind, AnyFusion{})}.generate(prompt, options_of(25, 1));
    Session fused{model};
    const Generation found =
        Decoder{fused, retriever, policies_of(Where::behind, AnyFusion{MeanOfLogits{}})}.generate(prompt, options_of(25, 1));
    CHECK(found.tokens == expected.tokens);
    CHECK(found.stats.counts == expected.stats.counts);
    CHECK(found.stats.branches.empty());
    CHECK(std::ranges::equal(fused.tokens(), alone.tokens()));
}

TEST_CASE("rewinds within a stride: the branches are those of the text that is left") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{9};
    const TokenBuffer prompt = random_tokens(random, 30, shape.vocab);
    /// Retrieves at the start; after 5 tokens takes 3 back and retrieves; after 4 more drops the passages and takes 2 back.
    struct Script {
        std::size_t calls = 0;
        Decision operator()(const StepView&) {
            const std::size_t now = calls++;
            if (now == 0) return Decision::retrieve();
            if (now == 5) return Decision::retrieve(3);
            if (now == 9) return Decision::drop_passages(2);
            return Decision::go_on();
        }
        void reset() { calls = 0; }
    };
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    struct Heard {
        std::vector<TokenId> tokens;
        void operator()(TokenId token) { tokens.push_back(token); }
        void rewind(std::size_t count) { tokens.resize(tokens.size() - count); }
    };
    for (const Where where : {Where::behind, Where::in_front, Where::beside}) {
        CAPTURE(static_cast<int>(where));
        const auto policies = policies_of(where, AnyFusion{RagSequence{}}).schedule(Script{});
        PagedSession session{model};
        Heard heard;
        const Generation found = Decoder{session, retriever, policies}.generate(prompt, options_of(12, 3), heard);
        REQUIRE(found.tokens.size() == 12);
        CHECK(found.stats.rewinds == 2);
        CHECK(found.stats.rewound == 5);
        CHECK(heard.tokens == found.tokens);
        // After the second retrieval: what a new text gives that ends where the rewind ended.
        TokenBuffer text = prompt;
        append(text, TokenSpan{found.tokens}.first(2));
        PagedSession other{model};
        const auto once = policies_of(where, AnyFusion{RagSequence{}}).schedule(Once{});
        const Generation second = Decoder{other, retriever, once}.generate(text, options_of(2, 3));
        CHECK(std::ranges::equal(second.tokens, TokenSpan{found.tokens}.subspan(2, 2)));
        // After the passages were dropped: plain text.
        append(text, second.tokens);
        Session plain{model};
        const auto never = policies_of(where, AnyFusion{}).schedule(Never{});
        CHECK(std::ranges::equal(Decoder{plain, retriever, never}.generate(text, options_of(8, 3)).tokens,
                                 TokenSpan{found.tokens}.subspan(4)));
    }
}

TEST_CASE("texts of a group fuse their passages in the passes that all share") {
    const ModelPtr model = random_model(shape);
    SplitMix64 random{10};
    std::vector<TokenBuffer> prompts;
    for (std::size_t i = 0; i < 4; ++i) prompts.push_back(random_tokens(random, 20 + 13 * i, shape.vocab));
    RandomRetriever retriever{20, 30, shape.vocab, 7};
    const std::vector<AnyFusion> fusions{AnyFusion{MeanOfLogits{}}, AnyFusion{}, AnyFusion{RagSequence{}},
                                         AnyFusion{ContrastWithout{1}}};
    DecoderGroup<PagedSession> group;
    std::vector<std::unique_ptr<PagedSession>> sessions;
    for (std::size_t i = 0; i < 4; ++i) {
        sessions.push_back(std::make_unique<PagedSession>(model));
        // One of them cancels another in the middle of a step.
        group.add(*sessions[i], retriever, policies_of(Where::behind, fusions[i]), prompts[i], options_of(20, 3),
                  [&group, i, n = 0](TokenId) mutable {
                      if (i == 3 && ++n == 9) group.cancel(0);
                  });
    }
    group.run();
    for (std::size_t i = 0; i < 4; ++i) {
        CAPTURE(i);
        PagedSession session{model};
        const Generation expected =
            Decoder{session, retriever, policies_of(Where::behind, fusions[i])}.generate(prompts[i], options_of(20, 3));
        const Generation& found = group.result(i);
        if (i == 0) {
            CHECK(found.stop == StopReason::cancelled);
            REQUIRE(found.tokens.size() < 20);
            CHECK(std::ranges::equal(found.tokens, TokenSpan{expected.tokens}.first(found.tokens.size())));
        } else {
            CHECK(found.tokens == expected.tokens);
            CHECK(found.stats.counts == expected.stats.counts);
            CHECK(found.stats.branches == expected.stats.branches);
        }
    }
}

}  // namespace test_decoder_fusion

// Perplexity with fused passages, against the definition: every branch evaluated from scratch, formulas in long double.
#include "flashback/core/thread_pool.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_fusion.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_eval_fusion_perplexity {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel shape{.layers = 1, .width = 24, .head_dim = 6, .hidden = 32, .vocab = 60, .window = 256};
constexpr TokenId left = 58;
constexpr TokenId right = 59;
using Numbers = std::vector<long double>;

/// Answers that depend on the query alone, with scores that differ.
struct Scored {
    std::vector<TokenBuffer> passages;
    std::vector<Passage> retrieve(const Query& query, std::size_t k) const {
        SplitMix64 random{hash_of(query.tokens)};
        std::vector<Passage> found;
        for (std::size_t i = 0; i < std::min(k, passages.size()); ++i)
            found.push_back({"p", "", "", passages[(random.next() + i) % passages.size()], 4 - 0.7f * static_cast<float>(i)});
        return found;
    }
};

struct World {
    TextStream text;
    Scored index;
    RetrievedStrides strides;
    ModelPtr model = random_model(shape);

    explicit World(const StrideOptions& options) {
        SplitMix64 random{21};
        for (std::size_t d = 0; d < 12; ++d)
            text.add("doc" + std::to_string(d), "", random_tokens(random, 20 + random.below(20), 58));
        for (std::size_t p = 0; p < 30; ++p) index.passages.push_back(random_tokens(random, 4 + random.below(12), 58));
        strides = retrieve_strides(text, index, LastNTokens{16}, options);
    }
};

Numbers softmax_of(const Numbers& logs) {
    long double total = 0;
    for (const long double log : logs) total += std::exp(log);
    Numbers all;
    for (const long double log : logs) all.push_back(std::exp(log) / total);
    return all;
}

enum class Where { behind, in_front, beside };
AnyLayout layout_of(Where where) {
    if (where == Where::in_front) return AnyLayout{PrependPassages{}};
    if (where == Where::beside) return AnyLayout{PassagesAside{}};
    return AnyLayout{AppendPassages{}};
}

/// The logits of what may be predicted after each token of a stride but the last, in a branch that reads these passages.
std::vector<Numbers> branch_of(const World& world, const RetrievedStride& stride, std::size_t targets, Where where,
                               const std::vector<std::size_t>& passages, bool joined) {
    std::vector<TokenBuffer> wrapped;
    for (const std::size_t p : passages) {
        if (!joined || wrapped.empty()) wrapped.push_back({left});
        append(wrapped.back(), stride.passage(p));
        if (!joined || p == passages.back()) wrapped.back().push_back(right);
    }
    const TokenSpan text = world.text.tokens();
    Session session{world.model};
    TokenBuffer all{1};
    if (where == Where::in_front)
        for (const TokenBuffer& passage : wrapped) append(all, passage);
    append(all, text.subspan(stride.at - stride.context, stride.context));
    if (where == Where::behind)
        for (const TokenBuffer& passage : wrapped) append(all, passage);
    if (where == Where::beside) {
        static_cast<void>(session.evaluate(TokenSpan{all}.first(all.size() - 1)));
        std::vector<std::shared_ptr<const Session::Block>> blocks;
        for (const TokenBuffer& passage : wrapped) blocks.push_back(session.block(passage, 1, 1));
        if (!blocks.empty()) session.see(blocks);
        all.erase(all.begin(), all.end() - 1);
    }
    std::vector<Numbers> logits;
    const auto keep = [&](std::span<const float> row) { logits.emplace_back(row.begin(), row.begin() + left); };
    keep(session.evaluate(all));
    for (std::size_t j = 0; j + 1 < targets; ++j) keep(session.evaluate(text.subspan(stride.at + j, 1)));
    return logits;
}

enum class How { mean, mixture, sequence, contrast };

/// -ln p of the tokens of a stride; of a sequence, the sum only, in the first place.
Numbers direct(const World& world, const RetrievedStride& stride, std::size_t targets, Where where, How how) {
    std::vector<std::vector<Numbers>> branches;
    std::vector<std::size_t> all;
    for (std::size_t p = 0; p < stride.found(); ++p) all.push_back(p);
    if (how == How::contrast) {
        branches.push_back(branch_of(world, stride, targets, where, all, false));
        branches.push_back(branch_of(world, stride, targets, where, {}, false));
    } else {
        for (const std::size_t p : all) branches.push_back(branch_of(world, stride, targets, where, {p}, false));
    }
    Numbers scores(stride.scores.begin(), stride.scores.end());
    for (long double& score : scores) score /= 2;  // the temperature
    const Numbers weights = softmax_of(scores);
    Numbers nats;
    Numbers of_branch(branches.size(), 0);
    for (std::size_t j = 0; j < targets; ++j) {
        const auto token = static_cast<std::size_t>(world.text.tokens()[stride.at + j]);
        Numbers fused(left, 0);
        long double mixed = 0;
        for (std::size_t b = 0; b < branches.size(); ++b) {
            const long double p = softmax_of(branches[b][j])[token];
            of_branch[b] += std::log(p);
            if (how == How::mixture) mixed += weights[b] * p;
            const long double factor = how == How::mean ? 1.0L / static_cast<long double>(branches.size())
                                       : b == 0         ? 1.5L
                                                        : -0.5L;
            for (std::size_t v = 0; v < left; ++v) fused[v] += factor * branches[b][j][v];
        }
        nats.push_back(-std::log(how == How::mixture ? mixed : softmax_of(fused)[token]));
    }
    if (how == How::sequence) {
        long double sum = 0;
        for (std::size_t b = 0; b < branches.size(); ++b) sum += weights[b] * std::exp(of_branch[b]);
        return {-std::log(sum)};
    }
    return nats;
}

AnyFusion fusion_of(How how) {
    if (how == How::mean) return AnyFusion{MeanOfLogits{}};
    if (how == How::mixture) return AnyFusion{WeightedMixture{2}};
    if (how == How::sequence) return AnyFusion{RagSequence{2}};
    return AnyFusion{ContrastWithout{0.5}};
}

auto policies_of(Where where, const AnyFusion& fusion) {
    return Policies{}.wrapper(MarkerTokens{left, right}).layout(layout_of(where)).fusion(fusion);
}

const RetrievalPerplexityOptions options{.head = TokenBuffer{1}};

}  // namespace

TEST_CASE("every fusion, with every layout, is what the definition says") {
    const World world{{.init = 80, .stride = 5, .strides = 12, .context = 40, .hold = 15, .passages = 3, .passage_tokens = 9}};
    for (const Where where : {Where::behind, Where::in_front, Where::beside}) {
        for (const How how : {How::mean, How::mixture, How::sequence, How::contrast}) {
            CAPTURE(static_cast<int>(where));
            CAPTURE(static_cast<int>(how));
            Session session{world.model};
            const auto policies = policies_of(where, fusion_of(how));
            const RetrievalPerplexity found =
                retrieval_perplexity(session, policies, world.text.tokens(), world.strides, options);
            for (std::size_t i = 0; i < world.strides.size(); ++i) {
                const Numbers nats = direct(world, world.strides[i], 5, where, how);
                long double sum = 0;
                for (const long double one : nats) sum += one;
                CHECK(found.stride_nats[i] == doctest::Approx(static_cast<double>(sum / 5)).epsilon(1e-5));
            }
            CHECK(found.counts.evaluated + found.counts.reused == found.counts.requested);
            CHECK(found.branches.size() == (how == How::contrast ? 2 : 3));

            // Neither reuse, nor the number of models, nor pages change a digit.
            std::vector<PagedSession> several;
            for (int i = 0; i < 3; ++i) several.emplace_back(world.model);
            ThreadPool pool{3};
            RetrievalPerplexityOptions with = options;
            with.executor = pool;
            const RetrievalPerplexity other =
                retrieval_perplexity(std::span{several}, policies, world.text.tokens(), world.strides, with);
            CHECK(other.stride_nats == found.stride_nats);
            CHECK(other.counts == found.counts);
            CHECK(other.branches == found.branches);
            const RetrievalPerplexity anew =
                retrieval_perplexity(session, policies.reuse(RecomputeAll{}), world.text.tokens(), world.strides, options);
            CHECK(anew.stride_nats == found.stride_nats);
            if (where == Where::behind) CHECK(anew.counts.evaluated > found.counts.evaluated);
        }
    }
}

TEST_CASE("k branches behind the text evaluate what is new of it once, and each its passage and the stride") {
    const World world{{.init = 80, .stride = 5, .strides = 3, .context = 40, .hold = 15, .passages = 3, .passage_tokens = 4}};
    Session session{world.model};
    const RetrievalPerplexity found = retrieval_perplexity(session, policies_of(Where::behind, AnyFusion{MeanOfLogits{}}),
                                                           world.text.tokens(), world.strides, options);
    REQUIRE(found.branches.size() == 3);
    for (const TokenCounts& branch : found.branches)
        CHECK(branch.evaluated == 3 * (4 + 1 + 4));  // a passage, a marker, 4 tokens
    const std::size_t shared = 1 + 40 + 5 + 5 + 3;   // head, the first context, two strides, a marker each time
    CHECK(found.counts.evaluated == shared + 3 * found.branches[0].evaluated);
}

TEST_CASE("one passage, or none, is no fusion") {
    for (const std::size_t passages : {0u, 1u}) {
        const World world{
            {.init = 80, .stride = 5, .strides = 9, .context = 40, .hold = 15, .passages = passages, .passage_tokens = 9}};
        Session session{world.model};
        const auto of = [&](const AnyFusion& fusion) {
            return retrieval_perplexity(session, policies_of(Where::behind, fusion), world.text.tokens(), world.strides,
                                        options);
        };
        const RetrievalPerplexity plain = of(AnyFusion{});
        for (const How how : {How::mean, How::mixture, How::sequence}) {
            const RetrievalPerplexity found = of(fusion_of(how));
            CHECK(found.stride_nats == plain.stride_nats);
            CHECK(found.counts == plain.counts);
            CHECK(found.branches.empty());
        }
    }
}

TEST_CASE("a model without forks is told what it lacks") {
    const World world{{.init = 80, .stride = 5, .strides = 3, .context = 40, .passages = 2, .passage_tokens = 9}};
    NullModel model{60};
    check_error(ErrorCode::contract, "a fusion of passages in 2 branches needs a model that can be forked (BranchingModel)",
                [&] {
                    static_cast<void>(retrieval_perplexity(model, policies_of(Where::behind, AnyFusion{MeanOfLogits{}}),
                                                           world.text.tokens(), world.strides, options));
                });
}

}  // namespace test_eval_fusion_perplexity

// What the newest position of a session reads: the scores of the evaluation itself, so that weights times values are what it attended
// to; a softmax in double of the same query and keys; and the same bits however the position came to be evaluated.
#include "flashback/testing/plain/attention.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/kv/copy_positions.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/prefix_cached.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_state.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_adapter.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_attention {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr double unit = 0x1p-24;  // the greatest relative error of one rounding

/// The queries before rotation and scale, and what was attended to, of the last row, layer by layer.
struct LastRow {
    std::size_t row;
    std::vector<std::vector<float>>* query;
    std::vector<std::vector<float>>* attended;

    void operator()(Stage stage, std::size_t layer, std::size_t r, std::size_t, std::span<const float> values) const {
        if (r != row) return;
        if (stage == Stage::query) (*query)[layer].assign(values.begin(), values.end());
        if (stage == Stage::attended) (*attended)[layer].assign(values.begin(), values.end());
    }
};

/// Keys and values of one head, in the order of AttentionWeights.
struct Read {
    std::vector<std::vector<float>> keys, values;
};

/// Evaluates the last token of a session by hand, in a cache of its own, and checks what the session says that it reads.
/// `front` is what the token sees before its own span, `own` the positions of that.
template <class Cache>
void check_last(BasicSession<Cache>& session, std::vector<SeenPositions<Cache>> seen, const Cache& held_own, std::size_t own,
                std::size_t front) {
    const Transformer& model = session.model();
    const TransformerConfig& c = model.config;
    std::vector<std::vector<float>> query(c.layers), attended(c.layers);
    Cache cache = held_own.fork();
    cache.truncate(own - 1);
    cache.reserve(own);
    Workspace work{c, 1};
    const PiecePlace<Cache> place{&cache, 1, own - 1, front + own - 1, seen};
    const TokenId last = session.tokens().back();
    forward(ForwardParts{model, work}, TokenSpan{&last, 1}, PiecePlaces<Cache>{&place, 1}, LastRow{0, &query, &attended});
    cache.commit(own);

    const std::size_t d = c.head_dim;
    const std::size_t sharing = c.heads / c.kv_heads;
    std::size_t positions = front + own;
    for (const auto& one : seen)
        if (one.cache != &session.cache()) positions += one.positions;
    std::vector<std::vector<Read>> read(c.layers, std::vector<Read>(c.kv_heads));
    const auto add = [&](const Cache& from, std::size_t count) {
        each_position(from, {0, count},
                      [&](std::size_t layer, std::size_t head, std::size_t, const float* key, const float* value) {
                          read[layer][head].keys.emplace_back(key, key + d);
                          read[layer][head].values.emplace_back(value, value + d);
                      });
    };
    if (front > 0) add(*seen[0].cache, front);
    add(cache, own);
    for (const auto& one : seen)
        if (one.cache != &session.cache()) add(*one.cache, one.positions);

    for (std::size_t layer = 0; layer < c.layers; ++layer) {
        const AttentionWeights found = session.attention(layer);
        REQUIRE(found.heads == c.heads);
        REQUIRE(found.positions() == positions);
        for (std::size_t h = 0; h < c.heads; ++h) {
            const Read& its = read[layer][h / sharing];
            const std::span<const float> weights = found.head(h);
            // The query as the kernel takes it: rotated by the angle of its position, scaled. The rotation takes 2 multiplications and
            // an addition of cosines that are rounded, the scale a root, a division and a product.
            std::vector<double> q(query[layer].begin() + static_cast<std::ptrdiff_t>(h * d),
                                  query[layer].begin() + static_cast<std::ptrdiff_t>((h + 1) * d));
            std::vector<double> q_error(d);
            // Tiles round the query to bf16.
            const bool in_tiles = testing::plain::attends_in_tiles<simd::BFloat16> && cache.shape().element == DType::bf16;
            const double to_bf16 = in_tiles ? 0x1p-9 : 0;
            for (std::size_t i = 0; i + 1 < c.rotary_dim; i += 2) {
                const double angle = static_cast<double>(front + own - 1) * model.rotary_frequencies[i / 2];
                const double a = q[i];
                const double b = q[i + 1];
                q[i] = a * std::cos(angle) - b * std::sin(angle);
                q[i + 1] = a * std::sin(angle) + b * std::cos(angle);
                q_error[i] = q_error[i + 1] = 3 * unit * (std::abs(a) + std::abs(b));
            }
            for (std::size_t i = 0; i < d; ++i) {
                q[i] /= std::sqrt(static_cast<double>(d));
                q_error[i] = q_error[i] / std::sqrt(static_cast<double>(d)) + (4 * unit + to_bf16) * std::abs(q[i]);
            }
            // A score is off by what the query is, and by a rounding of the sum of its magnitudes for each term, and one for the step of
            // i8; the difference to the greatest by one more. Then e^x is off by so much relative, and by 2 units; their sum is off as
            // its terms are, and by a rounding for each addition in a chain; the quotient by one.
            std::vector<double> weight(positions);
            double score_error = 0;
            for (std::size_t p = 0; p < positions; ++p) {
                double error = 0;
                for (std::size_t i = 0; i < d; ++i) {
                    const double key = static_cast<double>(its.keys[p][i]);
                    weight[p] += q[i] * key;
                    error += (q_error[i] + static_cast<double>(d + 2) * unit * std::abs(q[i])) * std::abs(key);
                }
                score_error = std::max(score_error, error);
            }
            const auto [least, most] = std::minmax_element(weight.begin(), weight.end());
            const double top = *most;
            score_error += (top - *least) * unit;
            double total = 0;
            for (double& w : weight) total += w = std::exp(w - top);
            const double chain = static_cast<double>(positions) / 16 + 8;
            const double relative = 2 * score_error + (2 * 3 + chain) * unit;
            double sum = 0;
            for (std::size_t p = 0; p < positions; ++p) {
                const double exact = weight[p] / total;
                sum += static_cast<double>(weights[p]);
                CHECK(std::abs(static_cast<double>(weights[p]) - exact) <= relative * exact + 1e-30);
            }
            CHECK(std::abs(sum - 1) <= (chain + 2) * unit);

            // Weights times values: the scores are those of the evaluation, to the bit. So what differs is e^x, taken tile by tile and
            // rescaled (2 units each), the order of sums, and a rounding for each value that is added. Tiles round each weight to bf16,
            // before they sum them as well.
            const double tiles = static_cast<double>(positions) / 64 + 2 + static_cast<double>(seen.size());
            const double rounding =
                ((top - *least) + 6 + 6 * tiles + 2 * static_cast<double>(positions) + chain) * unit + 2 * to_bf16;
            for (std::size_t i = 0; i < d; ++i) {
                double exact = 0;
                double magnitude = 0;
                for (std::size_t p = 0; p < positions; ++p) {
                    const double term = static_cast<double>(weights[p]) * static_cast<double>(its.values[p][i]);
                    exact += term;
                    magnitude += std::abs(term);
                }
                const double out = static_cast<double>(attended[layer][h * d + i]);
                CHECK(std::abs(out - exact) <= rounding * magnitude + 1e-30);
            }
        }
    }
}

template <class Session>
void check_plain(Session& session) {
    check_last(session, {}, session.cache(), session.size(), 0);
}

/// All layers, one after the other.
template <class Model>
std::vector<float> all_weights(Model& model) {
    std::vector<float> all;
    for (std::size_t layer = 0; layer < model.layers(); ++layer) {
        const AttentionWeights weights = model.attention(layer);
        all.insert(all.end(), weights.weights.begin(), weights.weights.end());
    }
    return all;
}

ModelPtr with_window(FamilyModel family, std::size_t window) {
    family.shape.window = window;
    return random_model(family.shape);
}

/// Requests a stop when it runs something: within the first piece.
struct StopsAtOnce {
    std::stop_source* stop;

    static std::size_t concurrency() { return 1; }
    template <class Task>
    void run(std::size_t count, const Task& task) const {
        stop->request_stop();
        for (std::size_t i = 0; i < count; ++i) task(i);
    }
};

constexpr const char* unknown = "is not known: nothing was evaluated since";

}  // namespace

TEST_CASE("weights are a softmax in double, and give what was attended to, for every family, length and element") {
    for (const FamilyModel& family : family_models()) {
        CAPTURE(family.name);
        const ModelPtr model = with_window(family, 320);
        SplitMix64 random{11};
        const std::vector<TokenId> text = random_tokens(random, 300, family.shape.vocab);
        for (const DType cache : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
            CAPTURE(layout_of(cache).name);
            PoisonedSession session{model, {.cache = cache}};
            for (const std::size_t length : {1u, 2u, 63u, 64u, 65u, 300u}) {
                CAPTURE(length);
                session.evaluate(TokenSpan{text}.subspan(session.size(), length - session.size()));
                check_plain(session);
            }
        }
    }
}

TEST_CASE("the shapes of random_transformer: llama, gpt2 and opt") {
    for (const auto& [family, heads] : {std::pair{Family::llama, 1u}, {Family::gpt2, 4u}, {Family::opt, 4u}}) {
        TransformerConfig c = choices_of(family);
        c.name = "small";
        c.vocab = 64;
        c.window = 100;
        c.layers = 2;
        c.width = c.hidden = 64;
        c.heads = 4;
        c.kv_heads = heads;
        c.head_dim = 16;
        if (c.positions == Positions::rotary) c.rotary_dim = 16;
        const ModelPtr model = random_transformer(c, DType::f32);
        SplitMix64 random{12};
        PoisonedPagedSession session{model};
        for (const std::size_t count : {1u, 1u, 70u}) {
            session.evaluate(random_tokens(random, count, c.vocab));
            check_plain(session);
        }
    }
}

TEST_CASE(
    "tokens that see blocks: positions held first, then what is seen of each block; a block leaves the text's query alone") {
    for (const FamilyModel& family : {family_models()[1], family_models()[5], family_models()[6]}) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        SplitMix64 random{13};
        for (const DType cache : {DType::f32, DType::i8}) {
            const std::size_t gap = 3;
            PoisonedPagedSession session{model, {.piece = 7, .cache = cache, .block_gap = gap}};
            using Block = PoisonedPagedSession::Block;
            session.evaluate(random_tokens(random, 20, family.shape.vocab));
            const std::vector<float> before = all_weights(session);
            const std::vector<std::shared_ptr<const Block>> blocks{
                session.block(random_tokens(random, 70, family.shape.vocab), 1, 1),
                session.block(random_tokens(random, 5, family.shape.vocab), 1, 1)};
            CHECK(same_bits(all_weights(session), before));
            session.see(blocks);
            check_error(ErrorCode::contract, unknown, [&] { session.attention(0); });
            for (const std::size_t count : {1u, 2u, 70u}) {
                CAPTURE(count);
                session.evaluate(random_tokens(random, count, family.shape.vocab));
                std::vector<SeenPositions<Poisoned<PagedKVCache>>> seen{{&session.cache(), 20}};
                for (const auto& block : blocks) {
                    const std::size_t sees = positions_seen(session.size() - 1, 1, gap);
                    seen.push_back({&block->cache, std::min(sees, block->tokens.size())});
                }
                // Its own span is not to be had from outside: it is evaluated once more.
                PoisonedPagedSession again{model, {.cache = cache, .block_gap = gap}};
                again.evaluate(session.tokens().first(20));
                again.see(blocks);
                again.evaluate(session.tokens().subspan(20));
                CHECK(same_bits(all_weights(again), all_weights(session)));
                again.see({});
                Poisoned<PagedKVCache> own = session.cache().sibling();
                own.reserve(session.size() - 20);
                copy_positions(again.cache(), {20, session.size() - 20}, own, 0);
                own.commit(session.size() - 20);
                check_last(session, seen, own, session.size() - 20, 20);
            }
            // A fork sees the same. Cut to where it is, a session knows what it knew; cut further, it does not.
            PoisonedPagedSession fork = session.fork();
            const std::vector<float> seen = all_weights(session);
            CHECK(same_bits(all_weights(fork), seen));
            session.truncate(session.size());
            CHECK(same_bits(all_weights(session), seen));
            session.truncate(20);
            check_error(ErrorCode::contract, unknown, [&] { session.attention(0); });
            session.evaluate(random_tokens(random, 1, family.shape.vocab));
            CHECK(session.attention(0).positions() == 21);
            CHECK(same_bits(all_weights(fork), seen));
            // What keeps what it saw is text for those that come after it.
            fork.see({blocks[1]});
            fork.evaluate(random_tokens(random, 1, family.shape.vocab));
            CHECK(fork.attention(1).positions() == fork.size() + 5);
            fork.see({});
            check_error(ErrorCode::contract, unknown, [&] { fork.attention(0); });
            fork.evaluate(random_tokens(random, 1, family.shape.vocab));
            CHECK(fork.attention(1).positions() == fork.size());
        }
    }
}

TEST_CASE("the same bits: pieces, evaluate_all, several sessions in one pass, forks, threads, pages, adapters") {
    for (const FamilyModel& family : {family_models()[1], family_models()[5], family_models()[9]}) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        const auto adapter = std::make_shared<const PackedAdapter>(random_adapter(model->config), model->config);
        for (const bool adapted : {false, true}) {
            SessionOptions options;
            if (adapted) options.adapter = adapter;
            SplitMix64 random{14};
            std::vector<std::vector<TokenId>> texts;
            std::vector<std::vector<float>> expected;
            for (const std::size_t length : {1u, 70u, 64u, 130u}) {
                texts.push_back(random_tokens(random, length, family.shape.vocab));
                Session whole{model, options};
                whole.evaluate(texts.back());
                expected.push_back(all_weights(whole));
            }
            for (std::size_t threads = 1; threads <= 3; ++threads) {
                ThreadPool pool{threads};
                options.executor = pool;
                for (const std::size_t piece : {1u, 7u, 100u}) {
                    options.piece = piece;
                    std::vector<std::unique_ptr<PoisonedPagedSession>> sessions;
                    std::vector<PoisonedPagedSession*> together;
                    for (std::size_t i = 0; i < texts.size(); ++i) {
                        PoisonedPagedSession alone{model, options};
                        i % 2 == 0 ? alone.evaluate(texts[i]) : alone.evaluate_all(texts[i]);
                        CHECK(same_bits(all_weights(alone), expected[i]));
                        sessions.push_back(std::make_unique<PoisonedPagedSession>(model, options));
                        together.push_back(sessions.back().get());
                    }
                    PoisonedPagedSession::evaluate_each(together, std::vector<TokenSpan>(texts.begin(), texts.end()));
                    for (std::size_t i = 0; i < texts.size(); ++i) CHECK(same_bits(all_weights(*together[i]), expected[i]));
                    PoisonedPagedSession fork = sessions[1]->fork();
                    sessions[1]->evaluate(texts[0]);
                    CHECK(same_bits(all_weights(fork), expected[1]));
                }
            }
        }
    }
}

TEST_CASE("what is not known is refused in words, and what changes nothing loses nothing") {
    const ModelPtr model = random_model({.vocab = 50});
    SplitMix64 random{15};
    const std::vector<TokenId> text = random_tokens(random, 30, 50);
    Session session{model, {.piece = 10}};
    const auto is_unknown = [&] { check_error(ErrorCode::contract, unknown, [&] { session.attention(0); }); };
    check_error(ErrorCode::contract, "what the newest of 0 positions reads is not known", [&] { session.attention(0); });
    session.evaluate(text);
    check_error(ErrorCode::contract, "attention was asked of layer 2, but the model has 2 layers",
                [&] { session.attention(2); });
    const std::vector<float> known = all_weights(session);
    const auto is_known = [&] { CHECK(same_bits(all_weights(session), known)); };

    session.truncate(30);
    is_known();
    check_error(ErrorCode::contract, "token 50", [&] { session.evaluate(std::vector<TokenId>{50}); });
    is_known();
    std::stop_source stop;
    stop.request_stop();
    session.evaluate(text, stop.get_token());
    is_known();
    const std::vector<std::byte> saved = save_session(session);
    is_known();
    session.truncate(29);
    is_unknown();
    session.evaluate(TokenSpan{text}.last(1));
    is_known();
    session.evict(2, 3);
    is_unknown();
    restore_session(session, saved);
    is_unknown();
    session.truncate(29);
    session.evaluate(TokenSpan{text}.last(1));
    is_known();
    session.truncate(0);
    is_unknown();

    // An evaluation that is stopped between two pieces knows what the last one of them reads.
    std::stop_source later;
    StopsAtOnce stops{&later};
    Session stopped{model, {.piece = 10, .executor = stops}};
    CHECK(stopped.evaluate(text, later.get_token()).empty());
    REQUIRE(stopped.size() == 10);
    session.evaluate(TokenSpan{text}.first(stopped.size()));
    CHECK(same_bits(all_weights(stopped), all_weights(session)));

    // A session over a store of prefixes.
    const auto pages = std::make_shared<KVPagePool>(PagedSession::cache_shape(model));
    PrefixStore store{pages, std::size_t{1} << 24};
    PagedSession paged{model, {}, {}, [&](const KVShape& shape) { return PagedKVCache{shape, pages}; }};
    PrefixCached cached{paged, store};
    cached.evaluate(text);
    CHECK(same_bits(all_weights(cached), known));
    cached.truncate(0);
    cached.evaluate(text);
    CHECK(same_bits(all_weights(cached), known));
}

namespace {

/// Retrieves every five tokens, and checks at each that attention is that of the session.
template <class Model>
struct Watch {
    const Model* model;
    std::size_t* seen;

    bool wants_attention() const { return true; }
    bool operator()(const StepView& step) const {
        if (step.logits.empty()) return step.retrievals == 0;
        REQUIRE(step.attention != nullptr);
        std::size_t positions = model->size();
        const std::size_t gap = default_block_gap;
        for (const auto& block : model->blocks())
            positions += std::min(block->tokens.size(), positions_seen(model->size() - 1, block->first_position, gap));
        CHECK(step.attention->layers == 2);
        for (std::size_t layer = 0; layer < 2; ++layer) {
            const AttentionWeights weights = step.attention->weights(layer);
            CHECK(weights.positions() == positions);
            double sum = 0;
            for (const float weight : weights.head(0)) sum += static_cast<double>(weight);
            CHECK(sum == doctest::Approx(1).epsilon(1e-5));
        }
        const std::span<const std::size_t> places = step.attention->places;
        REQUIRE(places.size() == step.context.size());
        for (std::size_t i = 0; i + 1 < places.size(); ++i) {
            REQUIRE(places[i] < model->size());
            CHECK(model->tokens()[places[i]] == step.context[i]);
        }
        ++*seen;
        return step.since_retrieval >= 5;
    }
};

template <class Layout>
void check_decoders(const ModelPtr& model) {
    const std::size_t vocab = model->config.vocab;
    SplitMix64 random{16};
    RandomRetriever retriever{5, 30, vocab, 17};
    const std::vector<TokenId> prompt = random_tokens(random, 40, vocab);
    const GenerateOptions options{.max_tokens = 22, .passages = 2, .ignore_eos = true};
    PagedSession alone{model};
    std::size_t seen = 0;
    const auto policies = [&](const PagedSession& session) {
        return Policies{}.layout(Layout{}).schedule(Watch<PagedSession>{&session, &seen});
    };
    Decoder decoder{alone, retriever, policies(alone)};
    const Generation expected = decoder.generate(prompt, options);
    CHECK(expected.stats.retrievals > 3);
    CHECK(seen == 21);

    DecoderGroup<PagedSession> group;
    std::vector<std::unique_ptr<PagedSession>> sessions;
    std::vector<RandomRetriever> retrievers(3, retriever);
    for (std::size_t i = 0; i < 3; ++i) {
        sessions.push_back(std::make_unique<PagedSession>(model));
        group.add(*sessions[i], retrievers[i], policies(*sessions[i]), TokenSpan{prompt}.subspan(5 * i), options);
    }
    group.run();
    CHECK(seen == 4 * 21);
    CHECK(group.result(0).tokens == expected.tokens);
}

}  // namespace

TEST_CASE("decoders read attention for append, prepend, sticky and aside, alone and in a group") {
    const ModelPtr model = random_model({.vocab = 60});
    check_decoders<AppendPassages>(model);
    check_decoders<PrependPassages>(model);
    check_decoders<Sticky>(model);
    check_decoders<PassagesAside>(model);
}

}  // namespace test_model_attention

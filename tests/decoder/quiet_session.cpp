// Promise 7 with a transformer: no allocation between two retrievals.
#include "decoder/quiet.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_bytes.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/allocations.hpp"
#include "support/errors.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"

#include <cstddef>
#include <memory>

#include <doctest/doctest.h>

namespace test_decoder_quiet_session {

using namespace flashback;
using namespace flashback_test;

namespace {

template <class P>
void check(const P& policies, SessionOptions options = {}, std::size_t warm = 0) {
    Session session{random_model({.layers = 1}), options};
    testing::NullRetriever retriever{12, session.vocab_size()};
    check_quiet(session, retriever, policies, warm);
}

}  // namespace

TEST_CASE("A session allocates nothing between two retrievals") {
    for (const std::size_t stride : {8u, 40u}) {
        CAPTURE(stride);
        const auto markers = Policies{}.schedule(EveryNTokens{stride}).wrapper(MarkerTokens{3, 4});
        check(markers);
        check(markers.layout(PrependPassages{}));
        check(markers.overflow(DropOldest{}), {.window = 80});
        check(markers.sampler(RepetitionPenalty{{}, TruncatedSampling{{.top_k = 20, .top_p = 0.9f, .seed = 1}}}));
        check(AnyPolicies{}.schedule(EveryNTokens{stride}).wrapper(AnyWrapper{MarkerTokens{3, 4}}));
    }
}

TEST_CASE("Threads and pieces change nothing about that") {
    ThreadPool pool{3};
    check(Policies{}, {.executor = pool});
    check(Policies{}, {.piece = 5});
}

TEST_CASE("Neither does an adapter") {
    const auto model = random_model({.layers = 1});
    const auto adapter = std::make_shared<const PackedAdapter>(random_adapter(model->config, {.ids = {3, 4}}), model->config);
    ThreadPool pool{2};
    const auto markers = Policies{}.schedule(EveryNTokens{40}).wrapper(MarkerTokens{3, 4});
    check(markers, {.adapter = adapter});
    check(markers, {.executor = pool, .adapter = adapter, .adapter_scale = 0.5f});
}

TEST_CASE("Neither do pages, if the pool has reserved them") {
    const auto model = random_model({.layers = 1});
    const KVShape shape = PagedSession::cache_shape(model);
    const std::size_t budget = 8 * KVPagePool{shape}.page_bytes();
    const auto pages = std::make_shared<KVPagePool>(shape, KVPagePoolOptions{.budget = budget, .reserved = budget});
    PagedSession session{model, {}, nullptr, [&](const KVShape& its) { return PagedKVCache{its, pages}; }};
    testing::NullRetriever retriever{12, session.vocab_size()};
    check_quiet(session, retriever, Policies{}.schedule(EveryNTokens{40}).wrapper(MarkerTokens{3, 4}));
}

TEST_CASE("Neither does a policy that looks at attention, of every layer after every token") {
    struct Looks {
        std::size_t stride;

        bool wants_attention() const { return true; }
        bool operator()(const StepView& step) const {
            if (step.attention == nullptr) return true;
            float sum = 0;
            for (std::size_t layer = 0; layer < step.attention->layers; ++layer)
                for (const float weight : step.attention->weights(layer).weights) sum += weight;
            return step.since_retrieval >= stride || !(sum > 0);
        }
    };
    // The first one who asks pays for the room.
    const auto markers = Policies{}.schedule(Looks{40}).wrapper(MarkerTokens{3, 4});
    check(markers, {}, 1);
    check(markers.layout(Sticky{}), {}, 1);
    ThreadPool pool{2};
    check(markers.layout(PassagesAside{}), {.executor = pool}, 1);
}

TEST_CASE("the bytes of a session are known before it is built") {
    const auto model = random_model({.layers = 2, .kv_heads = 2, .head_dim = 8, .window = 400});
    const SessionBytes bytes = session_bytes(model);
    CHECK(bytes.cache == std::size_t{2} * 2 * 2 * 8 * 448 * sizeof(float));
    CHECK(bytes.cache == ContiguousKVCache{Session::cache_shape(model)}.bytes());
    CHECK(session_bytes(model, {.cache = DType::i8}).cache == std::size_t{2} * 2 * 2 * (8 + 4) * 448);
    CHECK(session_bytes(model, {.window = 65}).cache == std::size_t{2} * 2 * 2 * 8 * 128 * sizeof(float));
    CHECK(session_bytes(model, {.piece = 16}).scratch < bytes.scratch / 10);
    CHECK(bytes.all() == bytes.cache + bytes.scratch);
    const std::size_t taken = allocations_of([&] { const Session session{model}; }).bytes;
    CHECK(taken >= bytes.all());
    CHECK(taken < bytes.all() + 4 * 400 + 2000);  // and the tokens
    check_error(ErrorCode::contract, "asks for a window of 401",
                [&] { static_cast<void>(session_bytes(model, {.window = 401})); });
}

}  // namespace test_decoder_quiet_session

// Promise 7 with a transformer: no allocation between two retrievals.
#include "decoder/quiet.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"
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
void check(const P& policies, SessionOptions options = {}) {
    Session session{random_model({.layers = 1}), options};
    testing::NullRetriever retriever{12, session.vocab_size()};
    check_quiet(session, retriever, policies);
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

}  // namespace test_decoder_quiet_session

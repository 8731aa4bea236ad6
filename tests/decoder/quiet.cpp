#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/model/session.hpp"
#include "support/allocations.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

// Between the first token behind a retrieval and the last one before the next, nothing is allocated.
template <class Model, class P>
void check_quiet(Model& model, const P& policies, std::size_t stride) {
    SplitMix64 random{1};
    RandomRetriever retriever{9, 12, model.vocab_size(), 1};
    Decoder decoder{model, retriever, policies.schedule(EveryNTokens{stride})};
    const std::vector<TokenId> prompt = random_tokens(random, 20, model.vocab_size());
    std::vector<std::size_t> calls;
    calls.reserve(160);
    decoder.generate(prompt, {.max_tokens = 160, .ignore_eos = true}, [&](TokenId) { calls.push_back(allocations().calls); });
    REQUIRE(calls.size() == 160);
    for (std::size_t first = 0; first < calls.size(); first += stride) {
        CAPTURE(first);
        const std::size_t last = std::min(first + stride, calls.size()) - 1;
        CHECK(calls[last] - calls[first] == 0);
    }
    CHECK(calls.back() > calls.front());  // retrievals do allocate: the counter works
}

}  // namespace

TEST_CASE("A decoder allocates nothing between two retrievals, from the first one on") {
    const auto markers = Policies{}.wrapper(MarkerTokens{3, 4});
    const auto sampled = markers.sampler(TruncatedSampling{{.temperature = 1, .top_p = 0.9f, .seed = 1}});
    for (const std::size_t stride : {8u, 40u}) {
        CAPTURE(stride);
        NullModel forgetful;
        check_quiet(forgetful, Policies{}, stride);
        NullModel sampling;
        check_quiet(sampling, sampled, stride);
        NullModel prepending;
        check_quiet(prepending, markers.layout(PrependDocuments{}), stride);
        FullNullModel full;
        check_quiet(full, markers, stride);
        Session session{random_model({.layers = 1})};
        check_quiet(session, sampled, stride);
    }
}

TEST_CASE("Threads change nothing about that") {
    ThreadPool pool{3};
    Session session{random_model({.layers = 1}), {.executor = pool}};
    check_quiet(session, Policies{}, 16);
}

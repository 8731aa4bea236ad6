/// \file Counts what a generation allocates between two retrievals.
#pragma once

#include "flashback/decoder/decoder.hpp"
#include "support/allocations.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

/// Between the first token after a retrieval and the last one before the next, nothing is allocated; at retrievals something
/// is, so the counter works. `warm` generations go before.
template <class Model, class RetrieverT, class P>
void check_quiet(Model& model, RetrieverT& retriever, const P& policies, std::size_t warm = 0) {
    constexpr std::size_t tokens = 160;
    flashback::Decoder decoder{model, retriever, policies};
    std::vector<flashback::TokenId> prompt(20);
    for (std::size_t i = 0; i < prompt.size(); ++i)
        prompt[i] = static_cast<flashback::TokenId>((7 * i + 5) % model.vocab_size());
    const flashback::GenerateOptions options{.max_tokens = tokens, .ignore_eos = true};
    for (; warm > 0; --warm) decoder.generate(prompt, options);

    std::vector<std::size_t> calls;
    calls.reserve(tokens);
    const flashback::Generation generation =
        decoder.generate(prompt, options, [&](flashback::TokenId) { calls.push_back(allocations().calls); });
    REQUIRE(calls.size() == tokens);
    std::vector<std::size_t> starts;  // the tokens after retrievals
    for (const flashback::Retrieval& retrieval : generation.retrievals) starts.push_back(retrieval.at);
    REQUIRE_FALSE(starts.empty());
    REQUIRE(starts[0] == 0);
    starts.push_back(tokens);
    std::size_t steps = 0;
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
        CAPTURE(starts[i]);
        CHECK(calls[starts[i + 1] - 1] - calls[starts[i]] == 0);
        steps += starts[i + 1] - 1 - starts[i];
    }
    CHECK(steps > tokens / 2);
    if (starts.size() > 2) CHECK(calls.back() > calls.front());
}

}  // namespace flashback_test

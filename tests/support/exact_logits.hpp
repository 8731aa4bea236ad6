/// \file What the tests of exactness share: sessions whose cache is poisoned, and logits of an evaluation from scratch.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/session.hpp"
#include "support/poisoned_kv_cache.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

using ModelPtr = std::shared_ptr<const flashback::Transformer>;
using PoisonedSession = flashback::BasicSession<PoisonedKVCache>;
using PoisonedPagedSession = flashback::BasicSession<Poisoned<flashback::PagedKVCache>>;

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

inline std::vector<float> from_scratch(const ModelPtr& model, flashback::TokenSpan tokens) {
    return copy_of(flashback::Session{model}.evaluate(tokens));
}

inline void require_exact(std::span<const float> logits, std::span<const float> expected, std::size_t tokens) {
    REQUIRE(std::isfinite(expected[0]));
    REQUIRE_MESSAGE(same_bits(logits, expected), "logits differ from a from-scratch evaluation of " << tokens << " tokens");
}

inline void require_exact(std::span<const float> logits, const ModelPtr& model, flashback::TokenSpan tokens) {
    require_exact(logits, from_scratch(model, tokens), tokens.size());
}

}  // namespace flashback_test

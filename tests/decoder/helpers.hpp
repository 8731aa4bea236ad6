/// \file What the tests of the decoder share.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "support/null_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

using Tokens = std::vector<flashback::TokenId>;

/// The sentence of the error that a call throws.
template <class Call>
std::string error_of(flashback::ErrorCode code, const Call& call) {
    try {
        call();
    } catch (const flashback::Error& error) {
        CHECK(to_string(error.code()) == to_string(code));
        return error.what();
    }
    return "no error";
}

inline Tokens random_prompt(std::size_t length, std::uint64_t seed = 3) {
    flashback::SplitMix64 random{seed};
    return random_tokens(random, length, 20);
}

inline Tokens first_of(const Tokens& tokens, std::size_t count) {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)};
}

/// A retriever that gives the same passages always, and can be told to fail.
struct FixedRetriever {
    std::vector<Tokens> passages;
    std::size_t fail_at = std::numeric_limits<std::size_t>::max();
    std::size_t calls = 0;
    std::vector<flashback::Passage> found = {};

    std::span<const flashback::Passage> retrieve(const flashback::Query&, std::size_t k) {
        if (calls++ == fail_at) throw std::runtime_error("the index is gone");
        found.clear();
        for (std::size_t i = 0; i < std::min(k, passages.size()); ++i)
            found.push_back({"id", "title", "text", passages[i], 0.5f});
        return found;
    }
};

}  // namespace flashback_test

/// \file A plain run and one with guesses, over worlds in which guesses are sometimes right.
#pragma once

#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "support/null_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

/// Few passages. The best are those of the newest token of the query; what `near` says is like that, and often wrong.
class Shelf {
public:
    explicit Shelf(std::uint64_t seed, std::size_t passages = 7) {
        flashback::SplitMix64 random{seed};
        for (std::size_t i = 0; i < passages; ++i) {
            flashback::OwnedPassage& passage = passages_.emplace_back();
            passage.id = "passage " + std::to_string(i);
            passage.title = "title " + std::to_string(i);
            passage.text = "text " + std::to_string(i);
            passage.tokens = random_tokens(random, 1 + random.below(5), 20);
        }
    }

    std::vector<flashback::Passage> retrieve(const flashback::Query& query, std::size_t k) {
        if (++searches >= fail_at) throw std::runtime_error("the index is gone");
        depths.push_back(k);
        std::vector<flashback::Passage> found;
        for (const flashback::OwnedPassage& passage : passages_) {
            found.push_back(passage.view());
            found.back().score = score(query, passage.view());
        }
        std::ranges::stable_sort(found, std::ranges::greater{}, &flashback::Passage::score);
        found.resize(std::min(k, found.size()));
        return found;
    }

    /// The true score: of the newest two tokens.
    static float score(const flashback::Query& query, const flashback::Passage& passage) {
        flashback::SplitMix64 random{hash_of(query.tokens.last(std::min<std::size_t>(2, query.tokens.size()))) % 5 +
                                     hash_of(passage.tokens)};
        return static_cast<float>(random.uniform());
    }

    /// The true one for two queries of three.
    static float near(const flashback::Query& query, const flashback::Passage& passage) {
        const bool off = query.tokens.empty() || query.tokens.back() % 3 == 0;
        return score(query, passage) * (off ? -1.0f : 0.5f);
    }

    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();
    std::size_t searches = 0;
    std::size_t fail_at = never;  ///< the first search that throws, from 1
    std::vector<std::size_t> depths = {};

private:
    std::vector<flashback::OwnedPassage> passages_;
};

/// The same in batches.
struct BatchShelf : Shelf {
    using Shelf::Shelf;
    std::size_t batches = 0;
    std::vector<std::vector<flashback::Passage>> retrieve_batch(std::span<const flashback::Query> queries, std::size_t k) {
        ++batches;
        std::vector<std::vector<flashback::Passage>> all;
        for (const flashback::Query& query : queries) all.push_back(retrieve(query, k));
        return all;
    }
};

inline void check_the_same(const flashback::Generation& found, const flashback::Generation& expected) {
    CHECK(found.tokens == expected.tokens);
    CHECK(to_string(found.stop) == to_string(expected.stop));
    CHECK(found.surprisals == expected.surprisals);
    CHECK(found.stats.retrievals == expected.stats.retrievals);
    CHECK(found.stats.rewinds == expected.stats.rewinds);
    CHECK(found.stats.rewound == expected.stats.rewound);
    CHECK(found.stats.dropped == expected.stats.dropped);
    CHECK(found.stats.shortened == expected.stats.shortened);
    REQUIRE(found.retrievals.size() == expected.retrievals.size());
    for (std::size_t i = 0; i < found.retrievals.size(); ++i) {
        const flashback::Retrieval& a = found.retrievals[i];
        const flashback::Retrieval& b = expected.retrievals[i];
        CHECK(a.at == b.at);
        CHECK(a.rewound == b.rewound);
        CHECK(a.query_tokens == b.query_tokens);
        CHECK(a.query_text == b.query_text);
        REQUIRE(a.passages.size() == b.passages.size());
        for (std::size_t j = 0; j < a.passages.size(); ++j) {
            CHECK(a.passages[j].id == b.passages[j].id);
            CHECK(a.passages[j].title == b.passages[j].title);
            CHECK(a.passages[j].text == b.passages[j].text);
            CHECK(a.passages[j].score == b.passages[j].score);
            CHECK(a.passages[j].tokens == b.passages[j].tokens);
        }
    }
    const flashback::TokenCounts& counts = found.stats.counts;
    CHECK(counts.evaluated + counts.reused == counts.requested);
}

/// What on_token is told: each call, in order.
struct Told {
    std::vector<flashback::TokenId> calls{};  ///< -n for n tokens taken back
    void operator()(flashback::TokenId token) { calls.push_back(token); }
    void rewind(std::size_t tokens) { calls.push_back(-static_cast<flashback::TokenId>(tokens)); }
};

/// What several generations came to.
struct Sums : flashback::Speculation {
    friend Sums operator+(Sums a, const flashback::Speculation& b) {
        a.speculated += b.speculated;
        a.matched += b.matched;
        a.rolled_back += b.rolled_back;
        a.discarded += b.discarded;
        return a;
    }
};

struct GuessedWorld {
    std::uint64_t seed = 0;
    std::optional<std::size_t> stride = 3;
    std::size_t passages = 1;
    std::size_t window = 100000;
    std::size_t prefetched = 0;
    std::size_t max_tokens = 40;
    flashback::FunctionRef<double()> clock = {};

    Tokens prompt() const { return random_prompt(5 + seed % 7, seed); }
    flashback::GenerateOptions options() const {
        return {.max_tokens = max_tokens, .passages = passages, .max_rewinds = 20, .surprisals = true};
    }
    flashback::SpeculationOptions guessing() const { return {.stride = stride, .prefetched = prefetched, .clock = clock}; }

    /// Generates twice with guesses, one search after the other and in batches, and compares each with a plain generation.
    template <class PoliciesT>
    Sums check(const PoliciesT& policies) const {
        const auto make = [&] { return FullNullModel{20, window}; };
        return check_over(policies, make, Shelf{seed}) + check_over(policies, make, BatchShelf{seed});
    }

    template <class PoliciesT, class Make, class ShelfT>
    Sums check_over(const PoliciesT& policies, const Make& make, ShelfT shelf) const {
        flashback::SeenPassages seen{std::ref(shelf), &Shelf::near};
        return check_with(policies, make, seen);
    }

    template <class PoliciesT, class Make, class RetrieverT>
    Sums check_with(const PoliciesT& policies, const Make& make, RetrieverT& seen) const {
        using namespace flashback;
        const Tokens text = prompt();
        Shelf plain_shelf{seed};
        auto plain_model = make();
        Decoder plain{plain_model, plain_shelf, policies};
        Told expected_calls;
        const Generation expected = plain.generate(text, options(), expected_calls);
        Sums all;
        auto model = make();
        SpeculativeDecoder decoder{model, seen, policies, guessing()};
        for (int again = 0; again < 2; ++again) {
            std::size_t before = 0;
            if constexpr (requires { model.evaluated; }) before = model.evaluated;
            Told calls;
            const Generation found = decoder.generate(text, options(), calls);
            check_the_same(found, expected);
            CHECK(calls.calls == expected_calls.calls);
            if constexpr (requires { model.evaluated; }) CHECK(found.stats.counts.evaluated == model.evaluated - before);
            const Speculation& s = found.stats.speculation;
            CHECK(s.matched + s.rolled_back <= s.speculated);
            CHECK(s.discarded <= found.stats.counts.evaluated);
            CHECK((s.rolled_back > 0 || s.discarded == 0));
            all = all + s;
        }
        return all;
    }
};

}  // namespace flashback_test

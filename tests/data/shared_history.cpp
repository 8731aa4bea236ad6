// Each branch of a shared history reads what its stride reads alone, at the same positions.
#include "flashback/data/shared_history.hpp"

#include "flashback/policy/any_policy.hpp"
#include "support/passage_rows.hpp"
#include "support/ranked_passages.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_data_shared_history {

using namespace flashback;
using namespace flashback_test;

namespace {

/// What a token of an example reads: tokens and where they stand, itself last.
std::vector<std::pair<TokenId, std::size_t>> reads(const TrainingExample& e, std::size_t token) {
    std::vector<std::pair<TokenId, std::size_t>> seen;
    if (e.runs.empty()) {
        for (std::size_t t = 0; t <= token; ++t) {
            if (sees(e.beside, token, t)) seen.emplace_back(e.tokens[t], position_of(e.beside, t));
        }
        return seen;
    }
    std::size_t run = 0;
    while (token >= e.runs[run].end) ++run;
    const TokenRun& own = e.runs[run];
    for (std::size_t t = 0; t < own.shared; ++t) seen.emplace_back(e.tokens[t], t);
    if (own.passage != TokenRun::no_passage) {
        const TokenRun& passage = e.runs[own.passage];
        for (std::size_t t = passage.begin; t < passage.end; ++t) {
            if (passage.position_of(t) + own.gap <= own.position_of(token))
                seen.emplace_back(e.tokens[t], passage.position_of(t));
        }
    }
    for (std::size_t t = own.begin; t <= token; ++t) seen.emplace_back(e.tokens[t], own.position_of(t));
    return seen;
}

}  // namespace

TEST_CASE("Strides whose contexts begin alike are one example, and each target is predicted from what it is alone") {
    SplitMix64 random{11};
    TextStream text;
    RankedPassages corpus;
    for (int d = 0; d < 40; ++d) text.add("doc" + std::to_string(d), "", random_tokens(random, 10 + random.below(30), 500));
    for (int p = 0; p < 50; ++p) corpus.add("p" + std::to_string(p), "", random_tokens(random, 12 + random.below(12), 500));
    for (const std::size_t passages : {std::size_t{1}, std::size_t{0}}) {
        const StrideOptions options{
            .init = 64, .stride = 4, .context = 16, .hold = 24, .passages = passages, .passage_tokens = 16};
        const RetrievedStrides strides = retrieve_strides(text, corpus, LastNTokens{8}, options);
        for (const AnyLayout& layout :
             {AnyLayout{AppendPassages{}}, AnyLayout{AppendAndRepeat{5}}, AnyLayout{PassagesAside{{.seeing = 3}}}}) {
            const AnyPolicies policies = AnyPolicies{}.layout(layout).wrapper(AnyWrapper{MarkerTokens{501, 502}});
            const SharedHistoryExamples shared{text.tokens(), strides, policies, TokenBuffer{1}, 64, 6};
            REQUIRE(shared.size() == (strides.size() + 5) / 6);
            std::size_t single = 0;
            std::size_t merged = 0;
            std::size_t s = 0;
            for (std::size_t i = 0; i < shared.size(); ++i) {
                const TrainingExample whole = shared[i];
                merged += whole.tokens.size();
                for (std::size_t target = 0; target < whole.targets.size(); ++s) {
                    const TrainingExample alone = shared.strides()[s];
                    single += alone.tokens.size();
                    for (const std::uint32_t expected : alone.targets) {
                        const std::uint32_t found = whole.targets[target++];
                        REQUIRE(whole.tokens[found] == alone.tokens[expected]);
                        REQUIRE(reads(whole, found - 1) == reads(alone, expected - 1));
                    }
                }
            }
            CHECK(s == strides.size());
            CHECK(merged < single * 3 / 4);
        }
    }
    // Contexts of random lengths may begin where those before them do; an example has no more strides for that.
    const StrideOptions drawn{.init = 64, .stride = 4, .context = 16, .most_context = 40, .seed = 2, .hold = 8, .passages = 0};
    const RetrievedStrides strides = retrieve_strides(text, corpus, LastNTokens{8}, drawn);
    std::size_t alike = 0;
    for (std::size_t i = 2; i < strides.size(); i += 2)
        alike += strides[i].at - strides[i].context == strides[i - 1].at - strides[i - 1].context ? 1u : 0u;
    REQUIRE(alike > 0);
    const SharedHistoryExamples pairs{text.tokens(), strides, Policies{}, TokenBuffer{1}, 64, 2};
    REQUIRE(pairs.size() == (strides.size() + 1) / 2);
    for (std::size_t i = 0; i + 1 < pairs.size(); ++i) REQUIRE(pairs[i].targets.size() == 8);
}

}  // namespace test_data_shared_history

// Packed documents lose no token and predict no BOS.
#include "flashback/data/packed_text.hpp"

#include "support/errors.hpp"
#include "support/random_model.hpp"

#include <optional>
#include <set>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::random_tokens;

namespace {

constexpr TokenId bos = 1;
constexpr TokenId end = 2;

using Tokens = std::vector<TokenId>;

Tokens tokens_of(const PackedText& text, std::size_t sequence) {
    const TrainingExample example = text.sequence(sequence);
    return {example.tokens.begin(), example.tokens.end()};
}

}  // namespace

TEST_CASE("Two documents by hand: BOS stands in front of each, and in front of what a sequence goes on with") {
    PackedText text{5, bos, end};
    CHECK(text.sequences() == 0);
    text.add(Tokens{10, 11, 12, 13, 14});
    text.add(Tokens{20});
    CHECK(text.documents() == 2);
    CHECK(text.length() == 5);
    CHECK(text.tokens() == 12);  // 1 10 11 12 13 | 1 14 2 1 20 | 1 2
    REQUIRE(text.sequences() == 2);
    CHECK(tokens_of(text, 0) == Tokens{1, 10, 11, 12, 13});
    CHECK(tokens_of(text, 1) == Tokens{1, 14, 2, 1, 20});
    CHECK(text.sequence(0).targets == std::vector<std::uint32_t>{1, 2, 3, 4});
    CHECK(text.sequence(1).targets == std::vector<std::uint32_t>{1, 2, 4});
    check_error(ErrorCode::contract, "sequence 2 of a text of 2 sequences", [&] { static_cast<void>(text.sequence(2)); });
    check_error(ErrorCode::contract, "sequences of 1 tokens, expected at least 2", [] { PackedText{1, bos, end}; });
}

TEST_CASE("Without BOS there are the documents and their ends, and all but the first of a sequence is predicted") {
    PackedText text{3, std::nullopt, end};
    text.add(Tokens{10, 11});
    text.add({});
    text.add(Tokens{12, 13});
    REQUIRE(text.sequences() == 2);
    CHECK(tokens_of(text, 0) == Tokens{10, 11, 2});
    CHECK(tokens_of(text, 1) == Tokens{2, 12, 13});
    CHECK(text.sequence(1).targets == std::vector<std::uint32_t>{1, 2});
    CHECK(text.tokens() == 7);
}

TEST_CASE("All tokens of all documents are there in their order, whatever the lengths") {
    SplitMix64 random{5};
    for (int trial = 0; trial < 200; ++trial) {
        const std::size_t length = 2 + random.below(9);
        CAPTURE(length);
        PackedText text{length, bos, end};
        Tokens expected;
        for (std::uint64_t document = 0; document < 1 + random.below(8); ++document) {
            Tokens tokens = random_tokens(random, random.below(12), 50);
            for (TokenId& token : tokens) token += 3;
            text.add(tokens);
            expected.insert(expected.end(), tokens.begin(), tokens.end());
            expected.push_back(end);
        }
        Tokens found;
        for (std::size_t i = 0; i < text.sequences(); ++i) {
            const TrainingExample example = text.sequence(i);
            REQUIRE(example.tokens.size() == length);
            CHECK(example.tokens[0] == bos);
            std::set<std::uint32_t> targets{example.targets.begin(), example.targets.end()};
            for (std::uint32_t at = 1; at < length; ++at) {
                CHECK(targets.contains(at) == (example.tokens[at] != bos));
                if (example.tokens[at] != bos) found.push_back(example.tokens[at]);
                // BOS stands behind an end only, where it does not begin a sequence.
                if (example.tokens[at] == bos && at > 1) CHECK(example.tokens[at - 1] == end);
            }
        }
        REQUIRE(found.size() <= expected.size());
        CHECK(expected.size() - found.size() < length);
        CHECK(Tokens{expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(found.size())} == found);
    }
}

TEST_CASE("The fingerprint tells apart texts, lengths and kinds of packing") {
    const auto fingerprint = [](std::size_t length, std::optional<TokenId> begin, const std::vector<Tokens>& documents) {
        PackedText text{length, begin, end};
        for (const Tokens& document : documents) text.add(document);
        return text.fingerprint();
    };
    const std::vector<Tokens> documents{{10, 11, 12}, {13}};
    CHECK(fingerprint(4, bos, documents) == fingerprint(4, bos, documents));
    const std::set<std::uint64_t> all{fingerprint(4, bos, documents),
                                      fingerprint(5, bos, documents),
                                      fingerprint(4, std::nullopt, documents),
                                      fingerprint(4, bos, {{10, 11, 12, 13}}),
                                      fingerprint(4, bos, {{10, 11}, {12, 13}}),
                                      fingerprint(4, bos, {{10, 11, 12}, {14}}),
                                      fingerprint(4, bos, {})};
    CHECK(all.size() == 7);
}

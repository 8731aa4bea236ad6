// Parted texts lose the order of no token, predict no marker, and depend on seed and number only.
#include "flashback/data/parted_text.hpp"

#include "support/errors.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;

namespace test_data_parted_text {

constexpr std::array<TokenId, 2> markers{4096, 4097};
constexpr TokenId bos = 1;

/// Documents in which each token is greater by 1 than the one before it.
PackedText counted(std::size_t documents, std::size_t length = 64) {
    PackedText text{length, bos, 2};
    TokenId next = 10;
    for (std::size_t i = 0; i < documents; ++i) {
        std::vector<TokenId> document(40);
        for (TokenId& token : document) token = next++;
        text.add(document);
    }
    return text;
}

constexpr PartingOptions short_parts{.share = 1, .relevant = 0, .text = {5, 12}, .passage = {3, 9}, .seed = 7};

TEST_CASE("Without passages and markers a parted sequence is the beginning of the packed one, and predicts the same of it") {
    const PackedText whole = counted(60);
    const PartedText parted{whole, markers, short_parts};
    for (std::size_t n = 0; n < whole.sequences(); ++n) {
        REQUIRE(parted.is_parted(n));
        const TrainingExample example = parted.sequence(n);
        const TrainingExample packed = whole.sequence(n);
        REQUIRE(example.tokens.size() == 64);
        std::size_t text = 0, passages = 0, stretch = 0;
        for (std::size_t i = 0; i < example.tokens.size(); ++i) {
            const bool predicted = std::ranges::binary_search(example.targets, i);
            if (example.tokens[i] == markers[0]) {
                CHECK_FALSE(predicted);
                CHECK(stretch >= 5);
                CHECK(stretch <= 12);
                stretch = 0;
                const std::size_t first = ++i;
                CHECK_FALSE(std::ranges::binary_search(example.targets, first));
                for (; example.tokens[i] != markers[1]; ++i) {
                    const TokenId token = example.tokens[i];
                    CHECK_FALSE(std::ranges::count(packed.tokens, token) > (token < 10 ? 64 : 0));  // from another sequence
                    CHECK(std::ranges::binary_search(example.targets, i) == (i > first && token != bos));
                }
                CHECK(i - first >= 3);
                CHECK(i - first <= 9);
                CHECK_FALSE(std::ranges::binary_search(example.targets, i));
                ++passages;
                continue;
            }
            CHECK(example.tokens[i] == packed.tokens[text]);
            CHECK(predicted == std::ranges::binary_search(packed.targets, text));
            ++text;
            ++stretch;
        }
        CHECK(stretch >= 5);
        CHECK(passages >= 2);
    }
}

TEST_CASE("A relevant passage is a stretch of the text around its next token, and a share of the passages is") {
    const PackedText whole = counted(60);
    std::size_t relevant = 0, passages = 0, begun_before = 0;
    for (const double share : {1.0, 0.25}) {
        PartingOptions options = short_parts;
        options.relevant = share;
        const PartedText parted{whole, markers, options};
        relevant = passages = begun_before = 0;
        for (std::size_t n = 0; n < whole.sequences(); ++n) {
            const TrainingExample example = parted.sequence(n);
            const TrainingExample packed = whole.sequence(n);
            std::size_t text = 0;
            for (auto at = example.tokens.begin(); at != example.tokens.end(); ++at) {
                if (*at != markers[0]) {
                    CHECK(*at == packed.tokens[text++]);
                    continue;
                }
                const auto end = std::find(at, example.tokens.end(), markers[1]);
                for (auto predicted = at + 2; predicted < end; ++predicted) {
                    const auto where = static_cast<std::size_t>(predicted - example.tokens.begin());
                    CHECK(std::ranges::binary_search(example.targets, where) == (*predicted != bos));
                }
                const TokenBuffer passage(at + 1, end);
                at = end;
                // Counted tokens occur once in a text, so where they stand says whether the next one is among them.
                const auto found = std::search(packed.tokens.begin(), packed.tokens.end(), passage.begin(), passage.end());
                const auto from = static_cast<std::size_t>(found - packed.tokens.begin());
                const bool is_relevant = found != packed.tokens.end() && from <= text && text < from + passage.size();
                relevant += is_relevant ? 1u : 0u;
                begun_before += is_relevant && from < text ? 1u : 0u;
                ++passages;
            }
        }
        CHECK(passages > 100);
        CHECK(static_cast<double>(relevant) / static_cast<double>(passages) == doctest::Approx(share).epsilon(0.25));
        CHECK((share < 1 || relevant == passages));
        CHECK(begun_before > relevant / 2);
        CHECK(begun_before < relevant);
    }
}

TEST_CASE("Most passages are short, and some are long") {
    const PackedText whole = counted(2000, 1024);
    const PartedText parted{whole, markers, {.share = 1, .relevant = 0, .text = {4, 8}, .passage = {4, 128}}};
    std::size_t passages = 0, few = 0, many = 0;
    for (std::size_t n = 0; n < whole.sequences(); ++n) {
        const TrainingExample example = parted.sequence(n);
        for (auto at = std::ranges::find(example.tokens, markers[0]); at != example.tokens.end();
             at = std::find(at, example.tokens.end(), markers[0])) {
            const auto size = std::find(at, example.tokens.end(), markers[1]) - at - 1;
            ++passages;
            few += size <= 16 ? 1u : 0u;
            many += size > 64 ? 1u : 0u;
            ++at;
        }
    }
    CHECK(passages > 1000);
    CHECK(few > passages / 2);  // of even lengths they would be a tenth
    CHECK(many > passages / 20);
}

TEST_CASE("A share of the sequences is parted; the others are as they were packed, and another seed parts others") {
    const PackedText whole = counted(1600);
    PartingOptions options = short_parts;
    options.share = 0.25;
    const PartedText parted{whole, markers, options};
    options.seed = 8;
    const PartedText other{whole, markers, options};
    std::size_t count = 0, same = 0;
    for (std::size_t n = 0; n < whole.sequences(); ++n) {
        count += parted.is_parted(n) ? 1u : 0u;
        same += parted.is_parted(n) == other.is_parted(n) ? 1u : 0u;
        CHECK((parted.sequence(n).tokens == whole.sequence(n).tokens) == !parted.is_parted(n));
    }
    CHECK(static_cast<double>(count) / static_cast<double>(whole.sequences()) == doctest::Approx(0.25).epsilon(0.2));
    CHECK(same < whole.sequences());
    CHECK(parted.sequence(5).tokens ==
          PartedText{whole, markers, {.share = 0.25, .relevant = 0, .text = {5, 12}, .passage = {3, 9}, .seed = 7}}
              .sequence(5)
              .tokens);
}

TEST_CASE("What cannot be parted is refused by name") {
    const auto with = [](PartingOptions options, std::size_t documents = 60, std::size_t length = 64) {
        return [=] { static_cast<void>(PartedText{counted(documents, length), markers, options}); };
    };
    check_error(ErrorCode::contract, "of the sequences is parted, expected 0 to 1", with({.share = 1.5}));
    check_error(ErrorCode::contract, "of the passages is relevant, expected 0 to 1", with({.relevant = -0.5}));
    check_error(ErrorCode::contract, "lengths from 9 to 8", with({.text = {9, 8}}));
    check_error(ErrorCode::contract, "lengths from 0 to 8", with({.passage = {0, 8}}));
    check_error(ErrorCode::contract, "sequences of 9 tokens are parted, expected at least the 10", with({}, 60, 9));
    check_error(ErrorCode::contract, "a text of 1 sequences is parted, expected at least 2", with({}, 2));
    CHECK_NOTHROW(with({.share = 0}, 2, 8)());
}

}  // namespace test_data_parted_text

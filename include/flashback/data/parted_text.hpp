/// \file Texts of pre-training that passages interrupt, so that a model learns to go on with a text after one.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/example.hpp"
#include "flashback/data/packed_text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// How many sequences are parted, and by what. For a length, the most is first halved a random number of times; then it is drawn
/// evenly between the least and that. So many are short, as if passages came every few tokens, and some are long.
struct PartingOptions {
    double share = 0.1;                          ///< of the sequences that are parted, from 0 to 1
    double relevant = 0.5;                       ///< of the passages that hold what the text goes on with, from 0 to 1
    std::array<std::size_t, 2> text{2, 128};     ///< the fewest and the most tokens of text between two passages
    std::array<std::size_t, 2> passage{4, 128};  ///< the fewest and the most tokens of a passage
    std::uint64_t seed = 0;                      ///< of which sequences are parted, where, and by what
};

/// A packed text of which some sequences are parted: passages stand in their text, each between two marking tokens, and the text
/// goes on after them. A relevant passage is a stretch of the same sequence that holds its next token, as a passage of a good
/// retriever would; any other one is a stretch of another sequence. So a model learns both to use a passage and to pass over it.
/// What no longer fits is cut. Predicted is what PackedText predicts, and passages but their first token; neither the marking
/// tokens nor what follows a left one. Which sequences are parted, and how, depends on the seed and their numbers only: it is the
/// same in each pass, so what is cut is never read.
/// Source    FlashBack (arXiv 2405.04065), section 3.2, for the place of the passages
class PartedText {
public:
    /// Shape     `markers` are the left and the right marking token
    /// Throws    Error{contract} for shares outside 0 to 1, or lengths that are 0 or descend; if sequences are to be parted that
    ///           cannot hold the fewest tokens of text twice, a passage and its markers; or if there are fewer than two
    PartedText(PackedText text, std::array<TokenId, 2> markers, PartingOptions options)
        : text_(std::move(text)), markers_(markers), options_(options) {
        FLASHBACK_ASSERT(options.share >= 0 && options.share <= 1, "a share of ", options.share,
                         " of the sequences is parted, expected 0 to 1");
        FLASHBACK_ASSERT(options.relevant >= 0 && options.relevant <= 1, "a share of ", options.relevant,
                         " of the passages is relevant, expected 0 to 1");
        for (const auto& [least, most] : {options.text, options.passage}) {
            FLASHBACK_ASSERT(least > 0 && least <= most, "lengths from ", least, " to ", most,
                             " for parted texts and their passages, expected ascending ones from 1 on");
        }
        const std::size_t needed = 2 * options.text[0] + options.passage[0] + markers.size();
        FLASHBACK_ASSERT(options.share == 0 || text_.length() >= needed, "sequences of ", text_.length(),
                         " tokens are parted, expected at least the ", needed, " of text, a passage, markers and text");
        FLASHBACK_ASSERT(options.share == 0 || text_.sequences() >= 2, "a text of ", text_.sequences(),
                         " sequences is parted, expected at least 2, so that one has passages for another");
    }

    /// The text as it was packed.
    const PackedText& text() const noexcept { return text_; }

    /// Whether the sequence of this number is parted.
    bool is_parted(std::size_t number) const noexcept { return random_of(number).uniform() < options_.share; }

    /// A sequence as a training example.
    /// Throws    as PackedText::sequence
    TrainingExample sequence(std::size_t number) const {
        TrainingExample whole = text_.sequence(number);
        SplitMix64 random = random_of(number);
        if (random.uniform() >= options_.share) return whole;
        const std::size_t length = text_.length();
        TrainingExample parted;
        parted.tokens.reserve(length);
        std::size_t next = 0;  // of the text
        auto target = whole.targets.begin();
        const auto read = [&](std::size_t count) {
            for (const std::size_t stop = next + count; next < stop; ++next) {
                if (target != whole.targets.end() && *target == next) {
                    parted.targets.push_back(static_cast<std::uint32_t>(parted.tokens.size()));
                    ++target;
                }
                parted.tokens.push_back(whole.tokens[next]);
            }
        };
        for (;;) {
            const std::size_t left = length - parted.tokens.size();
            const std::size_t stretch = drawn(random, options_.text);
            const std::size_t behind = markers_.size() + options_.text[0];  // what a passage needs besides its own room
            if (left < stretch + behind + options_.passage[0]) {
                read(left);
                return parted;
            }
            read(stretch);
            const std::size_t size = std::min(drawn(random, options_.passage), left - stretch - behind);
            if (random.uniform() < options_.relevant) {
                const std::size_t before = std::min<std::size_t>(next - 1, random.below(size));
                add_passage(whole, next - before, size, parted);
            } else {
                const auto step = 1 + static_cast<std::size_t>(random.below(text_.sequences() - 1));
                const TrainingExample other = text_.sequence((number + step) % text_.sequences());
                const std::size_t count = std::min(size, other.tokens.size() - 1);
                add_passage(other, 1 + static_cast<std::size_t>(random.below(other.tokens.size() - count)), count, parted);
            }
        }
    }

private:
    SplitMix64 random_of(std::size_t number) const noexcept { return SplitMix64{random_key(options_.seed, 4, number)}; }

    // Shifts and draws of integers, so that it is the same everywhere.
    static std::size_t drawn(SplitMix64& random, std::array<std::size_t, 2> lengths) noexcept {
        const auto halvings = static_cast<std::size_t>(std::bit_width(lengths[1] / lengths[0]));
        const std::size_t most = lengths[1] >> random.below(halvings);  // at least lengths[0]
        return lengths[0] + static_cast<std::size_t>(random.below(most - lengths[0] + 1));
    }

    // A stretch of a sequence, between markers. Its first token is not predicted: nothing says which stretch it is.
    void add_passage(const TrainingExample& of, std::size_t from, std::size_t count, TrainingExample& parted) const {
        parted.tokens.push_back(markers_[0]);
        for (std::size_t i = from; i < from + count; ++i) {
            if (i > from && std::ranges::binary_search(of.targets, i))
                parted.targets.push_back(static_cast<std::uint32_t>(parted.tokens.size()));
            parted.tokens.push_back(of.tokens[i]);
        }
        parted.tokens.push_back(markers_[1]);
    }

    PackedText text_;
    std::array<TokenId, 2> markers_;
    PartingOptions options_;
};

}  // namespace flashback::inline FLASHBACK_ISA

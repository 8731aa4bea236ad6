/// \file What a sweep over the reuse of keys and values measures: the ways to read new passages, the points, the rows; and what follows
/// from lengths alone.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/measure/run_time_counts.hpp"
#include "flashback/policy/layout.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Where passages stand at a retrieval, and from where keys and values are taken.
enum class ReuseWay {
    append,     ///< AppendPassages: the text in front of the last passages is reused
    prepend,    ///< PrependPassages: new passages leave nothing to reuse
    sticky,     ///< Sticky: as append, but passages that are found again stay where they are
    recompute,  ///< AppendPassages with RecomputeAll: nothing is reused
    aside,      ///< PassagesAside: each passage is read beside the text; the text in front of what saw the last ones is reused
    aside_stored,        ///< likewise, and a store of the model has the passages: only what sees them is evaluated
    prefix_store,        ///< AppendPassages, by a model that was emptied since and finds the text again: PrefixCached, say
    append_approximate,  ///< AppendPassages with KeepAndMoveText: all of the text is reused, as it saw the last passages
};

/// All ways; the last is approximate, and not for every model.
inline constexpr std::array all_reuse_ways{
    ReuseWay::append, ReuseWay::prepend,      ReuseWay::sticky,       ReuseWay::recompute,
    ReuseWay::aside,  ReuseWay::aside_stored, ReuseWay::prefix_store, ReuseWay::append_approximate};

/// Whether passages stand beside the text. That needs a BlockModel.
constexpr bool is_aside(ReuseWay way) noexcept { return way == ReuseWay::aside || way == ReuseWay::aside_stored; }

/// The name of a way, e.g. "append".
constexpr std::string_view to_string(ReuseWay way) noexcept {
    switch (way) {
        case ReuseWay::append: return "append";
        case ReuseWay::prepend: return "prepend";
        case ReuseWay::sticky: return "sticky";
        case ReuseWay::recompute: return "recompute";
        case ReuseWay::aside: return "aside";
        case ReuseWay::aside_stored: return "aside-stored";
        case ReuseWay::prefix_store: return "prefix-store";
        case ReuseWay::append_approximate: return "append-approximate";
    }
    return "unknown";
}

/// The lengths of a retrieval in the middle of a long text.
struct ReusePoint {
    std::size_t history = 2048;  ///< tokens of the text at the retrieval
    std::size_t stride = 16;     ///< tokens that are generated from one retrieval to the next
    std::size_t passage = 128;   ///< tokens of a passage
    std::size_t k = 1;           ///< passages, one after another

    constexpr bool operator==(const ReusePoint&) const = default;

    /// All tokens of the passages.
    constexpr std::size_t passage_tokens() const noexcept { return k * passage; }
    /// The positions that a model needs for it.
    constexpr std::size_t positions() const noexcept { return history + passage_tokens() + stride - 1; }
};

/// What a sweep varies.
enum class ReuseAxis { history, stride, passage, k };

/// All axes.
inline constexpr std::array all_reuse_axes{ReuseAxis::history, ReuseAxis::stride, ReuseAxis::passage, ReuseAxis::k};

/// The name of an axis, e.g. "history".
constexpr std::string_view to_string(ReuseAxis axis) noexcept {
    switch (axis) {
        case ReuseAxis::history: return "history";
        case ReuseAxis::stride: return "stride";
        case ReuseAxis::passage: return "passage";
        case ReuseAxis::k: return "k";
    }
    return "unknown";
}

/// The length of a point that an axis varies.
constexpr std::size_t& length_on(ReuseAxis axis, ReusePoint& point) noexcept {
    switch (axis) {
        case ReuseAxis::history: return point.history;
        case ReuseAxis::stride: return point.stride;
        case ReuseAxis::passage: return point.passage;
        case ReuseAxis::k: break;
    }
    return point.k;
}
constexpr std::size_t length_on(ReuseAxis axis, const ReusePoint& point) noexcept {
    ReusePoint copy = point;
    return length_on(axis, copy);
}

/// How points are measured.
struct ReuseOptions {
    bool found_again = false;  ///< each retrieval finds the passages of the last one; else it finds others
    bool miss = false;  ///< what is held differs from what is wanted in its first token: the same path with nothing to reuse
    std::size_t repetitions = 3;  ///< retrievals that are timed at each point
    std::uint64_t seed = 1;       ///< of the texts
};

/// Tokens from one retrieval to the next: each was evaluated or reused.
struct ReuseCounts {
    std::size_t evaluated = 0;  ///< tokens that the model had to evaluate
    std::size_t reused = 0;     ///< tokens whose keys and values were there

    constexpr bool operator==(const ReuseCounts&) const = default;
};

/// A retrieval by its lengths, which follow from those of the point. A model that finds less than what it was given, whole blocks only say,
/// or that has no store, evaluates more.
/// Requires  every length is at least 1, and the history at least the stride
constexpr RetrievalLengths lengths_of(ReuseWay way, const ReusePoint& at, const ReuseOptions& options = {}) noexcept {
    const std::size_t passages = at.passage_tokens();
    const std::size_t wanted = at.history + (is_aside(way) ? 0 : passages);
    const std::size_t in_front = at.history - at.stride;  // of the last passages, if they stand in the text
    std::size_t kept = 0;
    switch (way) {
        case ReuseWay::append:
        case ReuseWay::prefix_store: kept = in_front; break;
        case ReuseWay::sticky:
            kept = !options.found_again            ? in_front
                   : at.k <= Sticky::most_standing ? wanted - 1
                                                   : in_front + Sticky::most_standing * at.passage;
            break;
        case ReuseWay::prepend: kept = options.found_again ? wanted - 1 : 0; break;
        case ReuseWay::aside:
        case ReuseWay::aside_stored: kept = in_front - (in_front > 0 ? 1 : 0); break;  // the token in front saw passages, too
        case ReuseWay::append_approximate: kept = at.history - 1; break;
        case ReuseWay::recompute: break;
    }
    if (options.miss) kept = 0;
    const bool stored = is_aside(way) && (way == ReuseWay::aside_stored || options.found_again) && !options.miss;
    return {at.history, kept, wanted - kept, at.stride - 1, is_aside(way) ? passages : 0, stored};
}

/// The counts of these lengths.
constexpr ReuseCounts counts_of(const RetrievalLengths& lengths) noexcept {
    return {lengths.fed + lengths.decoded + (lengths.stored ? 0 : lengths.beside),
            lengths.kept + (lengths.stored ? lengths.beside : 0)};
}

/// The counts that follow from lengths alone, under the same conditions.
constexpr ReuseCounts predicted_counts(ReuseWay way, const ReusePoint& at, const ReuseOptions& options = {}) noexcept {
    return counts_of(lengths_of(way, at, options));
}

/// A point as one way measured it.
struct ReuseRow {
    ReuseAxis axis = ReuseAxis::history;  ///< which length was varied
    ReuseWay way = ReuseWay::append;      ///< how passages were read
    ReusePoint at = {};                   ///< the lengths
    ReuseCounts counts = {};              ///< from one retrieval to the next; of the last repetition
    std::vector<double> seconds = {};     ///< from one retrieval to the next, of each repetition

    /// The fastest repetition, in seconds; 0 if there was none.
    double best_seconds() const noexcept { return seconds.empty() ? 0 : *std::ranges::min_element(seconds); }
    /// Evaluated tokens for each generated one.
    double evaluated_per_token() const noexcept { return per_token(static_cast<double>(counts.evaluated)); }
    /// Reused tokens for each generated one.
    double reused_per_token() const noexcept { return per_token(static_cast<double>(counts.reused)); }
    /// Of the fastest repetition.
    double seconds_per_token() const noexcept { return per_token(best_seconds()); }

private:
    double per_token(double all) const noexcept { return all / static_cast<double>(at.stride); }
};

/// From which history on appended passages are faster than prepended ones. What lies between two measured histories is not known.
struct AppendWins {
    std::optional<std::size_t> from = {};      ///< the least measured history from which on append is always faster
    std::optional<std::size_t> loses_at = {};  ///< the greatest measured history at which it is not

    constexpr bool operator==(const AppendWins&) const = default;
};

/// Compares the rows that vary the history, by their fastest repetitions. Histories at which one of the two ways is missing do not count.
inline AppendWins append_wins_from(std::span<const ReuseRow> rows) {
    std::map<std::size_t, std::array<double, 2>, std::greater<>> seconds;  // of append and prepend, the longest history first
    for (const ReuseRow& row : rows) {
        if (row.axis != ReuseAxis::history || row.seconds.empty()) continue;
        if (row.way == ReuseWay::append) seconds[row.at.history][0] = row.best_seconds();
        if (row.way == ReuseWay::prepend) seconds[row.at.history][1] = row.best_seconds();
    }
    std::erase_if(seconds, [](const auto& one) { return one.second[0] == 0 || one.second[1] == 0; });
    AppendWins wins;
    for (const auto& [history, both] : seconds) {
        if (both[0] >= both[1]) {
            wins.loses_at = history;
            break;
        }
        wins.from = history;
    }
    return wins;
}

/// That as a sentence without a full stop, e.g. "append is faster than prepend at every measured history, from 256 tokens on".
inline std::string sentence_of(const AppendWins& wins) {
    const auto number = [](std::size_t history) { return std::to_string(history); };
    if (!wins.from && !wins.loses_at) return "append and prepend were not both measured along the history";
    if (!wins.loses_at)
        return "append is faster than prepend at every measured history, from " + number(*wins.from) + " tokens on";
    if (!wins.from)
        return "append is not faster than prepend at the longest measured history, " + number(*wins.loses_at) + " tokens";
    return "append becomes faster than prepend between " + number(*wins.loses_at) + " and " + number(*wins.from) +
           " tokens of history";
}

/// 1, 2, 4, ... times the least, up to the most: the values of an axis.
/// Requires  a least value of at least 1
inline std::vector<std::size_t> doublings(std::size_t least, std::size_t most) {
    std::vector<std::size_t> values;
    for (std::size_t value = least; value <= most; value *= 2) values.push_back(value);
    return values;
}

/// What is measured, and around which point. An axis without values is not varied.
struct ReuseSweepOptions {
    /// A BlockModel can also be asked for aside and, if it stores blocks, aside_stored; one that keeps what it is cut for prefix_store.
    std::vector<ReuseWay> ways{ReuseWay::append, ReuseWay::prepend, ReuseWay::sticky, ReuseWay::recompute};
    ReusePoint base = {};                                      ///< the lengths that are not varied
    std::vector<std::size_t> history = doublings(256, 16384);  ///< values of that axis
    std::vector<std::size_t> stride = doublings(4, 128);       ///< values of that axis
    std::vector<std::size_t> passage = doublings(32, 512);     ///< values of that axis
    std::vector<std::size_t> k = doublings(1, 8);              ///< values of that axis
    ReuseOptions how = {};                                     ///< how each point is measured

    /// The values of an axis.
    const std::vector<std::size_t>& values(ReuseAxis axis) const noexcept {
        switch (axis) {
            case ReuseAxis::history: return history;
            case ReuseAxis::stride: return stride;
            case ReuseAxis::passage: return passage;
            case ReuseAxis::k: break;
        }
        return k;
    }
};

/// The points of a sweep that fit into a window, axis by axis in the order of their values, and a sentence for each thing that does not.
struct ReusePoints {
    ReusePoint base = {};  ///< what the others were made from: its history is halved until it fits
    std::vector<std::pair<ReuseAxis, ReusePoint>> points = {};  ///< what is varied, and the lengths
    std::vector<std::string> left_out = {};                     ///< a sentence for each thing that does not fit
};

/// The points of a sweep for a model that holds so many positions.
/// Throws    Error{contract} for a length of 0; Error{window} if nothing is left
inline ReusePoints points_of(const ReuseSweepOptions& options, std::size_t window) {
    const auto number = [](std::size_t n) { return std::to_string(n); };
    ReusePoints found{.base = options.base};
    ReusePoint& base = found.base;
    const auto check = [](const ReusePoint& point) {
        for (const ReuseAxis axis : all_reuse_axes) {
            FLASHBACK_ASSERT(length_on(axis, point) > 0, "a sweep over reuse was given 0 for the ", to_string(axis),
                             ", expected at least 1");
        }
    };
    check(base);
    while (base.positions() > window && base.history / 2 >= base.stride) base.history /= 2;
    if (base.history != options.base.history) {
        found.left_out.push_back("the base history is " + number(base.history) + ", because " + number(options.base.history) +
                                 " does not fit into the window of " + number(window) + " positions");
    }
    for (const ReuseAxis axis : all_reuse_axes) {
        for (const std::size_t value : options.values(axis)) {
            ReusePoint point = base;
            length_on(axis, point) = value;
            check(point);
            const auto leave_out = [&](const std::string& why) {
                found.left_out.push_back(std::string{to_string(axis)} + ' ' + number(value) + " is left out: " + why);
            };
            if (point.positions() > window) {
                leave_out("it needs " + number(point.positions()) + " positions, but the window has " + number(window));
            } else if (point.history < point.stride) {
                leave_out("a history of " + number(point.history) + " is shorter than the stride of " + number(point.stride));
            } else {
                found.points.emplace_back(axis, point);
            }
        }
    }
    if (found.points.empty()) {
        FLASHBACK_THROW(ErrorCode::window, "a sweep over reuse measures nothing: ",
                        found.left_out.empty() ? "no axis has values" : found.left_out.back());
    }
    return found;
}

}  // namespace flashback::inline FLASHBACK_ISA

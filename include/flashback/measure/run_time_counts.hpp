/// \file The retrievals of a run-time test by their lengths, and what follows from lengths alone: counts, a prediction, a
/// bound.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/measure/model_cost.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Where the passage stands and what is reused: beside the text, where it is new each time, or was evaluated before and stored; after
/// the text with KV reuse, in front of it, or after it without reuse.
enum class RunTimeLayout { aside, aside_stored, append, prepend, recompute };

/// The name of a layout, e.g. "append".
constexpr std::string_view to_string(RunTimeLayout layout) noexcept {
    switch (layout) {
        case RunTimeLayout::aside: return "aside";
        case RunTimeLayout::aside_stored: return "aside-stored";
        case RunTimeLayout::append: return "append";
        case RunTimeLayout::prepend: return "prepend";
        case RunTimeLayout::recompute: return "recompute";
    }
    return "unknown";
}

/// The settings of a run-time test.
/// Source    FlashBack (arXiv 2405.04065), test_speed.py of the official code: passages of 128 tokens, a stride of 16
struct RunTimeOptions {
    std::size_t passage = 128;  ///< tokens of a passage
    std::size_t stride = 16;    ///< tokens between two retrievals
    std::uint64_t seed = 1;     ///< of the texts
};

/// One retrieval by its lengths.
struct RetrievalLengths {
    std::size_t history;     ///< tokens of the text
    std::size_t kept;        ///< positions that are reused
    std::size_t fed;         ///< tokens that are evaluated at once
    std::size_t decoded;     ///< tokens that are evaluated one by one after them
    std::size_t beside = 0;  ///< tokens of a passage beside the text
    bool stored = false;     ///< whether that was evaluated before

    constexpr bool operator==(const RetrievalLengths&) const = default;
};

/// Counts and seconds of one run, or of a part of one.
struct RunTime {
    std::size_t retrievals = 0;      ///< how many there were
    std::size_t reused = 0;          ///< positions
    std::size_t prefill_tokens = 0;  ///< evaluated at once, at retrievals
    std::size_t decode_tokens = 0;   ///< evaluated one by one
    double prefill_seconds = 0;      ///< for the tokens evaluated at once
    double decode_seconds = 0;       ///< for those evaluated one by one

    /// All tokens that were evaluated.
    std::size_t evaluated() const noexcept { return prefill_tokens + decode_tokens; }
    /// All seconds.
    double seconds() const noexcept { return prefill_seconds + decode_seconds; }

    /// What a decoded token costs, as a multiple of what a prefilled one costs: the c in the model of token counts. 0 if there
    /// are no tokens of one of the two kinds.
    double cost_ratio() const noexcept {
        if (decode_tokens == 0 || prefill_tokens == 0) return 0;
        return decode_seconds / static_cast<double>(decode_tokens) / (prefill_seconds / static_cast<double>(prefill_tokens));
    }

    /// Adds the counts of a retrieval, without time.
    void add(const RetrievalLengths& lengths) noexcept {
        ++retrievals;
        (lengths.stored ? reused : prefill_tokens) += lengths.beside;
        reused += lengths.kept;
        prefill_tokens += lengths.fed;
        decode_tokens += lengths.decoded;
    }
};

/// How many times faster one run is than another by token counts alone, if a decoded token costs `cost_ratio` prefilled ones.
inline double predicted_speedup(const RunTime& slow, const RunTime& fast, double cost_ratio) noexcept {
    const auto cost = [&](const RunTime& run) {
        return static_cast<double>(run.prefill_tokens) + cost_ratio * static_cast<double>(run.decode_tokens);
    };
    return cost(slow) / cost(fast);
}

/// A retrieval after `history` tokens of text that the cache holds already; the newest `stride` of them stand after the last
/// passage, or saw it, and so did the token in front of them. The `first` one finds an empty cache.
constexpr RetrievalLengths lengths_of(RunTimeLayout layout, std::size_t history, std::size_t decoded,
                                      const RunTimeOptions& options, bool first = false) noexcept {
    const bool stored = layout == RunTimeLayout::aside_stored;
    const bool aside = stored || layout == RunTimeLayout::aside;
    const std::size_t again = options.stride + (aside ? 1 : 0);
    const std::size_t kept = !first && (aside || layout == RunTimeLayout::append) ? history - std::min(history, again) : 0;
    if (aside) return {history, kept, history - kept, decoded, options.passage, stored};
    return {history, kept, history - kept + options.passage, decoded};
}

/// The retrievals of the paper's run-time test. A text of `init` tokens grows, with a new passage every `stride` tokens, as
/// long as text and passage together are shorter than `length`. The first retrieval is evaluated as a whole, whatever the
/// layout.
/// Throws    Error{contract} if nothing is generated, or for a stride or an initial text of 0 tokens
/// Source    FlashBack (arXiv 2405.04065), run-time test; push_back_simulate and push_front_simulate of the official code
inline std::vector<RetrievalLengths> retrievals_of(RunTimeLayout layout, std::size_t init, std::size_t length,
                                                   const RunTimeOptions& options = {}) {
    FLASHBACK_ASSERT(options.stride > 0 && init > 0,
                     "a run-time test needs a stride and an initial text of at least 1 token, found ", options.stride, " and ",
                     init);
    FLASHBACK_ASSERT(init + options.passage < length, "a run-time test of length ", length,
                     " generates nothing: the initial text has ", init, " tokens and a passage ", options.passage,
                     ", expected a length above their sum");
    std::vector<RetrievalLengths> retrievals;
    for (std::size_t history = init; history + options.passage < length; history += options.stride) {
        const std::size_t generated = std::min(options.stride, length - options.passage - history);
        retrievals.push_back(lengths_of(layout, history, generated - 1, options, history == init));
    }
    return retrievals;
}

/// The counts of some retrievals.
inline RunTime counts_of(std::span<const RetrievalLengths> retrievals) noexcept {
    RunTime run;
    for (const RetrievalLengths& retrieval : retrievals) run.add(retrieval);
    return run;
}

/// The least time that retrievals take on a machine with these peaks.
inline double least_seconds(std::span<const RetrievalLengths> retrievals, const ModelCost& cost, const MachinePeaks& peaks) {
    double seconds = 0;
    for (const RetrievalLengths& r : retrievals) {
        if (!r.stored) seconds += cost.prefill_seconds(peaks, 0, r.beside);
        seconds += cost.prefill_seconds(peaks, r.kept, r.fed);
        seconds += cost.decode_seconds(peaks, r.kept + r.fed + r.beside, r.decoded);
    }
    return seconds;
}

/// The indices of `samples` of `count` things: evenly spaced from the first to the last; a single one is in the middle.
inline std::vector<std::size_t> evenly_spaced(std::size_t count, std::size_t samples) {
    std::vector<std::size_t> chosen;
    samples = std::min(samples, count);
    if (samples == 1) return {count / 2};
    for (std::size_t i = 0; i < samples; ++i) chosen.push_back(i * (count - 1) / (samples - 1));
    return chosen;
}

/// How long a retrieval took that was timed.
struct RetrievalSample {
    std::size_t index;             ///< which retrieval it was
    double prefill_seconds;        ///< for all its tokens at once
    double decoded_token_seconds;  ///< for each token after them
};

/// Adds the seconds of retrievals of which only some were timed. Those between two samples are interpolated; those before the
/// first or after the last sample take as long as that sample.
/// Requires  samples in ascending order of their index, at least one if there are retrievals
inline void add_interpolated(RunTime& sum, std::span<const RetrievalLengths> retrievals,
                             std::span<const RetrievalSample> samples) {
    std::size_t right = 0;
    for (std::size_t i = 0; i < retrievals.size(); ++i) {
        while (right + 1 < samples.size() && samples[right].index < i) ++right;
        const RetrievalSample& b = samples[right];
        const RetrievalSample& a = right > 0 && i < b.index ? samples[right - 1] : b;
        const double part = a.index == b.index ? 0 : static_cast<double>(i - a.index) / static_cast<double>(b.index - a.index);
        sum.prefill_seconds += a.prefill_seconds + part * (b.prefill_seconds - a.prefill_seconds);
        sum.decode_seconds += static_cast<double>(retrievals[i].decoded) *
                              (a.decoded_token_seconds + part * (b.decoded_token_seconds - a.decoded_token_seconds));
    }
}

}  // namespace flashback::inline FLASHBACK_ISA

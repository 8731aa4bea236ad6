/// \file What the reuse of keys and values is worth for a model and a machine: tokens and seconds from one retrieval to the next, against
/// the length of the text, the stride, and the length and number of passages.
///
/// A retrieval is measured in the middle of a long text. The model holds the text with the passages of the last retrieval, and has
/// generated `stride` tokens since, of which it has not evaluated the newest. Timed are the plan with the passages that are found now, what
/// it feeds, and `stride - 1` single tokens after that: all that those `stride` tokens cost but the search and the sampler. So the texts,
/// which are random, do not matter; counts depend on lengths alone.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/measure/detail/random_text.hpp"
#include "flashback/measure/reuse_sweep_counts.hpp"
#include "flashback/policy/carry_out.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/policy/reuse.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a sweep has measured.
struct ReuseSweep {
    ReusePoint base = {};                    ///< what each axis was varied from
    std::vector<ReuseRow> rows = {};         ///< axis by axis, value by value, and way by way
    std::vector<std::string> left_out = {};  ///< a sentence for each thing that did not fit into the window
};

namespace detail {

/// Retrievals one after another on one model, which holds what the last one left.
template <LanguageModel Model>
class ReuseCycles {
public:
    ReuseCycles(Model& model, const ReuseOptions& options) : model_(model), options_(options) { model_.truncate(0); }

    ReuseRow measure(ReuseAxis axis, ReuseWay way, const ReusePoint& at) {
        ReuseRow row{.axis = axis, .way = way, .at = at};
        for (std::size_t i = 0; i < options_.repetitions; ++i) {
            prepare(way, at);
            switch (way) {
                case ReuseWay::append:
                case ReuseWay::prefix_store: time(row, Policies{}.layout(AppendPassages{})); break;
                case ReuseWay::prepend: time(row, Policies{}.layout(PrependPassages{})); break;
                case ReuseWay::sticky: time(row, Policies{}.layout(Sticky{})); break;
                case ReuseWay::recompute: time(row, Policies{}.layout(AppendPassages{}).reuse(RecomputeAll{})); break;
                case ReuseWay::aside:
                case ReuseWay::aside_stored: time(row, Policies{}.layout(PassagesAside{})); break;
                case ReuseWay::append_approximate:
                    time(row, Policies{}.layout(AppendPassages{}).reuse(KeepAndMoveText{}));
                    break;
            }
        }
        return row;
    }

private:
    std::size_t vocab() const { return static_cast<std::size_t>(model_.vocab_size()); }

    /// The passages of a retrieval, one after another.
    TokenBuffer passages_of(std::size_t retrieval, const ReusePoint& at) const {
        TokenBuffer tokens = random_text(vocab(), at.passage_tokens(), random_key(options_.seed, retrieval));
        for (std::size_t i = 0; i < at.k; ++i) tokens[i * at.passage] = passage_starts[retrieval % passage_starts.size()];
        return tokens;
    }

    /// Brings the model to where a retrieval finds it.
    void prepare(ReuseWay way, const ReusePoint& at) {
        // A store has each text of this seed from the last time, so each gets a beginning of its own.
        const bool stored = way == ReuseWay::prefix_store;
        if (stored) ++texts_;
        text_ = random_text(vocab(), at.history + at.stride - 1, options_.seed + (stored ? texts_ : 0));
        if (stored) text_[0] = static_cast<TokenId>(passage_starts.size() + texts_ % (vocab() - passage_starts.size()));
        if (options_.miss) ++retrieval_;  // a store may have those of the last repetition
        const TokenBuffer last = passages_of(retrieval_, at);
        if (!options_.found_again) ++retrieval_;
        found_tokens_ = options_.found_again ? last : passages_of(retrieval_, at);
        found_.clear();
        for (std::size_t i = 0; i < at.k; ++i)
            found_.push_back({.tokens = TokenSpan{found_tokens_}.subspan(i * at.passage, at.passage)});

        const TokenSpan seen = TokenSpan{text_}.first(at.history - 1);  // the newest token is not evaluated yet
        if (is_aside(way)) {
            hold_beside(seen, at.history - at.stride, last, at.passage);
            if (way == ReuseWay::aside_stored && !options_.miss) store_found();
            return;
        }
        const std::size_t in_front = way == ReuseWay::prepend ? 0 : at.history - at.stride;
        standing_.clear();
        append(standing_, seen.first(in_front));
        append(standing_, last);
        append(standing_, seen.subspan(in_front));
        TokenBuffer wanted = standing_;
        // What is wanted begins with the text or with a passage; of three tokens one is neither.
        while (options_.miss && (wanted[0] == text_[0] || wanted[0] == found_tokens_[0])) wanted[0] = (wanted[0] + 1) % 3;
        hold(wanted);
        if (stored) hold({});
    }

    void hold(const TokenBuffer& wanted) {
        const std::size_t common = std::min(common_prefix(held_, wanted), held_plain_);
        model_.truncate(common);
        if (common < wanted.size()) static_cast<void>(model_.evaluate(TokenSpan{wanted}.subspan(common)));
        held_ = wanted;
        held_plain_ = all;
    }

    /// Holds a text of which the token in front of position `from`, and all behind it, see the last passages beside it.
    void hold_beside(TokenSpan text, std::size_t from, TokenSpan last, std::size_t passage) {
        const std::size_t plain = from > 0 ? from - 1 : 0;
        TokenBuffer wanted{text.begin(), text.end()};
        if (options_.miss && !wanted.empty()) wanted[0] = (wanted[0] + 1) % 3;
        standing_ = wanted;
        hold({wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(std::min(plain, wanted.size()))});
        if (plain >= wanted.size()) return;
        if constexpr (BlockModel<Model>) {
            if (!options_.miss) static_cast<void>(see_passages(model_, parts_of(last, passage), 0));
        }
        static_cast<void>(model_.evaluate(TokenSpan{wanted}.subspan(plain)));
        held_ = wanted;
        held_plain_ = plain;
    }

    /// Lets the model's store have the passages that are found.
    void store_found() {
        if constexpr (BlockModel<Model>) {
            for (const Passage& passage : found_) static_cast<void>(model_.block(passage.tokens, 0, 0));
        }
    }

    static std::vector<TokenSpan> parts_of(TokenSpan passages, std::size_t passage) {
        std::vector<TokenSpan> parts;
        for (std::size_t begin = 0; begin < passages.size(); begin += passage)
            parts.push_back(passages.subspan(begin, passage));
        return parts;
    }

    template <class P>
    void time(ReuseRow& row, const P& policies) {
        const TokenSpan context = TokenSpan{text_}.first(row.at.history);
        const ContextParts parts{.head = {},
                                 .passages = found_,
                                 .context = context,
                                 .standing = TokenSpan{standing_},
                                 .held_plain = std::min(held_plain_, held_.size()),
                                 .written = options_.miss ? 0 : row.at.stride - 1};
        const std::size_t worked = work_of(model_);
        const auto start = std::chrono::steady_clock::now();
        const ContextPlan plan = plan_context(policies, held_, parts, scratch_);
        const std::size_t beside = carry_out(model_, plan, 0).beside;
        for (std::size_t i = row.at.history; i < text_.size(); ++i)
            static_cast<void>(model_.evaluate(TokenSpan{text_}.subspan(i, 1)));
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

        const std::size_t steps = text_.size() - row.at.history;
        std::size_t evaluated = plan.feed.size() + beside + steps;
        if constexpr (CountsWork<Model>) evaluated = work_of(model_) - worked;
        row.counts = {evaluated, plan.wanted.size() + (plan.sees ? row.at.passage_tokens() : 0) + steps - evaluated};
        row.seconds.push_back(seconds.count());
        held_plain_ = plan.plain_after(held_plain_);
        held_.assign(plan.wanted.begin(), plan.wanted.end());
        append(held_, TokenSpan{text_}.last(steps));
    }

    static constexpr std::size_t all = std::numeric_limits<std::size_t>::max();

    Model& model_;
    ReuseOptions options_;
    std::size_t retrieval_ =
        work_of(model_);                   // passages of two in a row differ in their first tokens, those of two sweeps, too
    std::size_t texts_ = work_of(model_);  // so that the texts of two sweeps differ, too
    TokenBuffer text_;                     // and the tokens that are generated after it
    TokenBuffer found_tokens_;             // of the passages that are found now
    std::vector<Passage> found_;
    TokenBuffer standing_;  // what was laid out at the last retrieval, and the text since
    TokenBuffer held_;
    std::size_t held_plain_ = all;  // how much of it saw no passages beside the text
    PlanScratch scratch_;
};

template <class Model>
void check_ways(const Model& model, std::span<const ReuseWay> ways, const ReuseOptions& options) {
    FLASHBACK_ASSERT(options.repetitions > 0, "a sweep over reuse was to time each point 0 times, expected at least once");
    FLASHBACK_ASSERT(!ways.empty(), "a sweep over reuse was given no ways, expected append or another one");
    if constexpr (!BlockModel<Model>) {
        const auto aside = std::ranges::find_if(ways, is_aside);
        FLASHBACK_ASSERT(aside == ways.end(), "the way ", to_string(*aside),
                         " needs a model that holds passages beside its text (BlockModel)");
    }
    FLASHBACK_ASSERT(std::ranges::find(ways, ReuseWay::append_approximate) == ways.end() || can_evict_of(model),
                     "the way append-approximate needs a model of rotary positions (RotatingModel)");
    if constexpr (!CountsWork<Model>) {
        // Its plan calls all tokens evaluated, and nobody knows better.
        FLASHBACK_ASSERT(std::ranges::find(ways, ReuseWay::prefix_store) == ways.end(),
                         "the way prefix-store needs a model that counts its work(), such as PrefixCached");
    }
}

}  // namespace detail

/// Measures points one axis at a time, around a base. What the model held is forgotten. If a model counts its work, that is what is counted
/// as evaluated, else the tokens that it is given. `measured(row)` is called after each row.
///
/// For the way aside_stored, the model must find blocks that it made before: a Session with a BlockStore does; another one evaluates them
/// again, and the counts say so. For the way prefix_store, the model must keep what it is cut, and look for what it evaluates; then `prefix_store` is a text that comes
/// back to a model which has read something else since: a conversation that goes on, or a retry.
/// Requires  nobody else uses the model meanwhile
/// Throws    Error{contract} for no ways, 0 repetitions, a length of 0, a vocabulary of fewer than 3 tokens, prefix_store with a model that
///           does not count its work, passages aside with one that is no BlockModel, or append_approximate with one whose positions cannot
///           be moved; Error{window} if no point fits into its window; what the model throws
/// Cost      at each point and way, `repetitions` retrievals and what brings the model to them, untimed: the passages and a stride; the whole
///           text for prefix_store, for `miss`, and where the way before held another text
/// Source    FlashBack (arXiv 2405.04065), run-time test, for append and prepend; the sweep is ours
template <LanguageModel Model, class Measured>
ReuseSweep sweep_reuse(Model& model, const ReuseSweepOptions& options, const Measured& measured) {
    detail::check_ways(model, options.ways, options.how);
    ReusePoints points = points_of(options, window_of(model));
    ReuseSweep sweep{.base = points.base, .left_out = std::move(points.left_out)};
    detail::ReuseCycles<Model> cycles{model, options.how};
    for (const auto& point : points.points) {
        for (const ReuseWay way : options.ways) {
            // Each axis goes through the base, which is measured once.
            const auto same =
                std::ranges::find_if(sweep.rows, [&](const ReuseRow& row) { return row.way == way && row.at == point.second; });
            ReuseRow row = same != sweep.rows.end() ? *same : cycles.measure(point.first, way, point.second);
            row.axis = point.first;
            sweep.rows.push_back(std::move(row));
            measured(std::as_const(sweep.rows.back()));
        }
    }
    return sweep;
}
template <LanguageModel Model>
ReuseSweep sweep_reuse(Model& model, const ReuseSweepOptions& options = {}) {
    return sweep_reuse(model, options, [](const ReuseRow&) {});
}

}  // namespace flashback::inline FLASHBACK_ISA

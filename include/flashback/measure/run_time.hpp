/// \file What a retrieval takes in wall-clock time: the run-time test of the paper, and its parts.
///
/// All texts are random tokens without a head. Passages begin with token 0 and 1 in turn; texts do not contain these, and
/// samplers do not take them. So no prefix is shared by chance, and counts depend on lengths alone.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/measure/detail/random_text.hpp"
#include "flashback/measure/run_time_counts.hpp"
#include "flashback/policy/policies.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A model whose parts of a run can be timed: it tells what it holds, so that the cache can be filled first.
template <class M>
concept TimeableModel = LanguageModel<M> && RemembersTokens<M>;

namespace detail {

/// Gives a new random passage every time, or the same two in turn.
class RandomPassages {
public:
    RandomPassages(std::size_t vocab, const RunTimeOptions& options, bool same_two)
        : vocab_(vocab), seed_(options.seed), random_(options.seed), same_two_(same_two), tokens_(options.passage) {}

    std::span<const Passage> retrieve(const Query& /*query*/, std::size_t /*k*/) {
        if (same_two_) random_ = SplitMix64{seed_};
        for (TokenId& token : tokens_) token = static_cast<TokenId>(random_.below(vocab_));
        if (!tokens_.empty()) tokens_.front() = passage_starts[calls_++ % passage_starts.size()];
        return {&passage_, 1};
    }

private:
    std::size_t vocab_;
    std::uint64_t seed_;
    SplitMix64 random_;
    bool same_two_;
    std::size_t calls_ = 0;
    TokenBuffer tokens_;
    Passage passage_{.id = "random", .title = "", .text = "", .tokens = tokens_, .score = 0};
};

template <class Model>
void check_window(const Model& model, std::span<const RetrievalLengths> retrievals) {
    std::size_t needed = 0;
    for (const RetrievalLengths& r : retrievals) needed = std::max(needed, r.kept + r.fed + r.decoded);
    if (needed > window_of(model)) {
        FLASHBACK_THROW(ErrorCode::window, "the run-time test needs ", needed, " positions, but the model holds ",
                        window_of(model));
    }
}

/// Forgets the blocks that a model has stored: the passages of one seed are always the same.
template <class Model>
void forget_blocks(Model& model) {
    if constexpr (requires { model.store()->clear(); }) {
        if (model.store()) model.store()->clear();
    }
}

/// Generates `count` tokens after a text with the decoder, in a layout. A passage that is not to be stored is new to the model.
template <class Model, class Schedule>
RunTime generate_with(Model& model, RunTimeLayout layout, Schedule schedule, TokenSpan text, std::size_t count,
                      const RunTimeOptions& options) {
    RandomPassages passages{static_cast<std::size_t>(model.vocab_size()), options, layout == RunTimeLayout::aside_stored};
    forget_blocks(model);
    const auto run = [&](auto policies) {
        Decoder decoder{model, passages, std::move(policies)};
        const Statistics stats =
            decoder.generate(text, {.max_tokens = count, .ignore_eos = true, .head = TokenSpan{}, .masked = passage_starts})
                .stats;
        const std::size_t decoded = count - stats.retrievals;
        return RunTime{stats.retrievals, stats.counts.reused,   stats.counts.evaluated - decoded,
                       decoded,          stats.seconds.prefill, stats.seconds.decode};
    };
    const auto policies = Policies{}.schedule(schedule);
    switch (layout) {
        case RunTimeLayout::prepend: return run(policies.layout(PrependPassages{}));
        case RunTimeLayout::recompute: return run(policies.reuse(RecomputeAll{}));
        case RunTimeLayout::append: return run(policies);
        case RunTimeLayout::aside_stored:
            if constexpr (BlockModel<Model>) {
                // Both are evaluated before, so that a model that stores passages has them.
                for (std::size_t i = 0; i < passage_starts.size() && options.passage > 0; ++i)
                    static_cast<void>(model.block(passages.retrieve({}, 1).front().tokens, 0, 0));
            }
            break;
        case RunTimeLayout::aside: break;
    }
    return run(policies.layout(PassagesAside{}));
}

/// Makes a model hold a text and nothing else, none of which sees passages beside it.
template <class Model>
void hold(Model& model, TokenSpan text) {
    std::size_t common = common_prefix(model.tokens(), text);
    if constexpr (BlockModel<Model>) common = std::min<std::size_t>(common, model.plain_size());
    model.truncate(common);
    if (common < text.size()) static_cast<void>(model.evaluate(text.subspan(common)));
}

/// Times a retrieval on a cache that holds what it keeps.
template <class Model>
RunTime time_lengths(Model& model, RunTimeLayout layout, const RetrievalLengths& lengths, const RunTimeOptions& options) {
    const TokenBuffer text = random_text(static_cast<std::size_t>(model.vocab_size()), lengths.history, options.seed);
    check_window(model, {&lengths, 1});
    hold(model, TokenSpan{text}.first(lengths.kept));
    return generate_with(model, layout, Once{}, text, lengths.decoded + 1, options);
}

}  // namespace detail

/// Evaluates `count` tokens at once after `before` others. Those are brought into the cache first and not timed.
/// Throws    what the model throws: Error{window} if they do not fit, Error{contract} for no tokens
template <TimeableModel Model>
RunTime time_prefill(Model& model, std::size_t before, std::size_t count, std::uint64_t seed = 1) {
    const TokenBuffer text = detail::random_text(static_cast<std::size_t>(model.vocab_size()), before + count, seed);
    detail::hold(model, TokenSpan{text}.first(before));
    const auto start = std::chrono::steady_clock::now();
    static_cast<void>(model.evaluate(TokenSpan{text}.subspan(before)));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    return {.reused = before, .prefill_tokens = count, .prefill_seconds = time.count()};
}

/// Evaluates `count` tokens one by one after `before` others. Those are brought into the cache first and not timed.
/// Throws    as `time_prefill`
template <TimeableModel Model>
RunTime time_decode(Model& model, std::size_t before, std::size_t count, std::uint64_t seed = 1) {
    const TokenBuffer text = detail::random_text(static_cast<std::size_t>(model.vocab_size()), before + count, seed);
    detail::hold(model, TokenSpan{text}.first(before));
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = before; i < text.size(); ++i) static_cast<void>(model.evaluate(TokenSpan{text}.subspan(i, 1)));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    return {.reused = before, .decode_tokens = count, .decode_seconds = time.count()};
}

/// One retrieval after `history` tokens of text, and `decoded` single tokens after it. The part of the text that the layout
/// reuses is brought into the cache first and not timed. Cutting off the rest costs nothing. If the model has a store of blocks, that
/// is cleared.
/// Throws    as `time_prefill`; Error{contract} for a passage aside and a model that holds no blocks
template <TimeableModel Model>
RunTime time_retrieval(Model& model, RunTimeLayout layout, std::size_t history, std::size_t decoded,
                       const RunTimeOptions& options = {}) {
    return detail::time_lengths(model, layout, lengths_of(layout, history, decoded, options), options);
}

/// The paper's run-time test: every retrieval of it, by the decoder. What the model held and stored is forgotten.
/// Throws    as `retrievals_of` and `time_prefill`
template <LanguageModel Model>
RunTime time_loop(Model& model, RunTimeLayout layout, std::size_t init, std::size_t length,
                  const RunTimeOptions& options = {}) {
    const std::vector<RetrievalLengths> retrievals = retrievals_of(layout, init, length, options);
    detail::check_window(model, retrievals);
    const RunTime expected = counts_of(retrievals);
    model.truncate(0);
    const TokenBuffer text = detail::random_text(static_cast<std::size_t>(model.vocab_size()), init, options.seed);
    return detail::generate_with(model, layout, EveryNTokens{options.stride}, text,
                                 expected.retrievals + expected.decode_tokens, options);
}

/// An estimate of the paper's run-time test. The first retrieval and `samples` of the others, evenly spaced, are timed on a
/// cache that is filled to their history. The seconds of those in between are interpolated, and all are summed. Counts are
/// those of the whole test. If the model has a store of blocks, that is cleared.
/// Throws    as `time_loop`; Error{contract} for 0 samples
template <TimeableModel Model>
RunTime sample_loop(Model& model, RunTimeLayout layout, std::size_t init, std::size_t length, std::size_t samples,
                    const RunTimeOptions& options = {}) {
    FLASHBACK_ASSERT(samples > 0, "a sampled run-time test needs at least 1 sample, found 0");
    const std::vector<RetrievalLengths> retrievals = retrievals_of(layout, init, length, options);
    RunTime sum = counts_of(retrievals);
    const auto time = [&](std::size_t index, const RetrievalLengths& r) {
        const RunTime run = detail::time_lengths(model, layout, r, options);
        const auto decoded = static_cast<double>(std::max<std::size_t>(r.decoded, 1));
        return RetrievalSample{index, run.prefill_seconds, run.decode_seconds / decoded};
    };
    const std::span<const RetrievalLengths> all = retrievals;
    const RetrievalSample first = time(0, all.front());
    const std::span<const RetrievalLengths> others = all.subspan(1);
    std::vector<RetrievalSample> timed;
    for (const std::size_t index : evenly_spaced(others.size(), samples)) timed.push_back(time(index, others[index]));
    add_interpolated(sum, all.first(1), {&first, 1});
    add_interpolated(sum, others, timed);
    return sum;
}

}  // namespace flashback::inline FLASHBACK_ISA

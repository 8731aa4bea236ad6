/// \file How well a model predicts a text if a schedule decides when passages are found.
///
/// `retrieval_perplexity` finds passages for every few tokens of a text. Here any schedule decides when, and it may look at
/// what the model says of the text: at its doubt, at what it read, at sentences.
///
///     const StrideOptions where{.init = 512, .context = 256, .hold = 128};
///     const auto doubt = scheduled_perplexity(session, Policies{}.schedule(my_schedule), text, index, LastNTokens{32}, where);
///     const auto every = scheduled_perplexity(session, Policies{}.schedule(EveryNTokens{16}), text, index, LastNTokens{32}, where);
///     const StrideDifference gain = stride_difference(doubt, every);
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/allowed_passages.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/data/text_stream.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/eval/detail/true_text.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/policy/stopping.hpp"
#include "flashback/policy/without_draft.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How well a model predicts a text if a schedule decides when to retrieve, and what that took. `retrievals` are the schedule's, and
/// `copied` counts those of them after which the text of a stride stands word for word in their passages.
struct ScheduledPerplexity : RetrievalPerplexity {
    std::size_t windows = 0;  ///< in which the text was read, each with an empty cache
    std::size_t rewinds = 0;  ///< how often the schedule took tokens back
    std::size_t rewound = 0;  ///< tokens that it took back
    double first_nats = 0;    ///< the mean of -ln p(token) when a token was first predicted; `nats` if nothing was taken back
    Seconds seconds = {};     ///< of all windows, also if some were read at once
};

namespace detail {

/// A part of a text that is read in one go: a context, and tokens to predict.
struct ScheduledWindow {
    std::size_t at = 0;  ///< where the first token is that is predicted
    std::size_t tokens = 0;
};

/// Strides with contexts of one start are a window.
/// Throws    Error{contract} for options that make no sense, or a text without a whole stride
inline std::vector<ScheduledWindow> scheduled_windows(std::size_t tokens, const StrideOptions& where) {
    FLASHBACK_ASSERT(where.hold > 0, "a schedule decides within windows of `hold` tokens, found 0, expected a multiple of ",
                     where.stride);
    FLASHBACK_ASSERT(where.most_context == 0, "a schedule reads windows behind random contexts of ", where.context, " to ",
                     where.most_context, " tokens, expected contexts of one length");
    std::vector<ScheduledWindow> windows;
    for (const RetrievedStrides::Entry& stride : walk(tokens, where)) {
        if (stride.context == where.context) windows.push_back({static_cast<std::size_t>(stride.at), 0});
        windows.back().tokens += where.stride;
    }
    return windows;
}

/// Adds up what happened in the windows of all ranks.
inline void add_events(RanksRef ranks, ScheduledPerplexity& result) {
    const auto add = [&](auto& mine) {
        std::remove_reference_t<decltype(mine)> all{};
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            auto its = mine;
            ranks.broadcast_one(its, rank);
            all += its;
        }
        mine = all;
    };
    add(result.retrievals);
    add(result.passages);
    add(result.copied);
    add(result.rewinds);
    add(result.rewound);
    add(result.seconds);
}

/// Refuses windows that do not fit into that of a model if all passages are as long as they may be.
template <class P>
void check_window(const P& policies, TokenSpan text, const ScheduledWindow& longest, const StrideOptions& where,
                  const StrideLayout& layout, std::size_t window) {
    const TokenBuffer tokens(where.passages * where.passage_tokens, text.front());
    std::vector<std::uint64_t> ends;
    for (std::size_t i = 1; i <= where.passages; ++i) ends.push_back(i * where.passage_tokens);
    const std::vector<float> scores(ends.size());
    const std::size_t read = longest.tokens - 1;  // the last token is predicted, not read
    const RetrievedStride stride{longest.at + read, where.context + read, tokens, ends, 0, scores};
    StrideScratch scratch;
    const std::size_t needed = plan_stride(policies, {}, {text, stride, 1}, layout, scratch).longest();
    if (needed > window) {
        FLASHBACK_THROW(ErrorCode::window, "a window of ", longest.tokens, " tokens behind a context of ", where.context,
                        " needs up to ", needed, " positions with head and ", where.passages, " passages of ",
                        where.passage_tokens, " tokens, but that of the model holds ", window);
    }
}

}  // namespace detail

/// How well a model predicts a text if the schedule of `policies` decides when passages are found. It is asked before each token as
/// when it generates, and sees the model's distribution, but the next token is always that of the text.
///
/// `where` says how the text is read, as for `retrieve_strides`: in windows that begin with `context` tokens in an empty cache, and
/// predict `hold` tokens. With EveryNTokens{stride} the nats are those of `retrieval_perplexity` over the strides of `where`, if the query looks no further back than a context. A passage
/// must not come from a document to which a token of the window belongs: `forbidden(passage, source)` tells whether it does.
///
/// The query is made by `query`, and never by a method, from the text before the retrieval. Of tokens that are taken back it sees
/// nothing: they are the text's, and a query of them would know what is to be predicted.
///
/// A token that is taken back counts as it was predicted last. What a schedule that takes tokens back decides depends on the
/// very tokens that it lets the model predict anew, so its `nats` say what a second look is worth, and are not those of a distribution;
/// `first_nats` are.
///
/// `policies` are a Policies; each window has a copy of them. Their sampler and stopping criterion are not used. Several models, equal in
/// everything but what they hold, divide the windows between them; each is used by one thread at a time. No number depends on how
/// many there are.
/// Throws    Error{contract} for no models, or several if a const retriever cannot be asked, for options that make no sense or say that
///           passages replace text, for an id that is masked or that the model does not have, and for a schedule that ends the text;
///           Error{window} before anything is evaluated, if the model cannot hold a window; Error{logits}; what model, retriever and
///           policies throw
/// Cost      each window once, token by token, and what the schedule takes back again; a search for each retrieval, as in
///           `retrieve_strides`; what the models held is forgotten
template <LanguageModel Model, class P, class R, QueryBuilder QueryFrom, class Forbidden = FromSource>
ScheduledPerplexity scheduled_perplexity(std::span<Model> models, const P& policies, const TextStream& text, R& retriever,
                                         const QueryFrom& query, const StrideOptions& where,
                                         const RetrievalPerplexityOptions& options = {}, const Forbidden& forbidden = {}) {
    static_assert(checked_retriever<R>());
    constexpr bool shared = Retriever<const R>;  // const, so that several threads may ask it at once
    FLASHBACK_ASSERT(!models.empty() && (shared || models.size() == 1), "a perplexity with ", models.size(),
                     " models, expected at least one, and no more if a const retriever cannot be asked");
    FLASHBACK_ASSERT(!options.passages_replace_text, "passages replace text, expected them beside it: a schedule reads on");
    const TokenSpan all = text.tokens();
    const std::vector<detail::ScheduledWindow> windows = detail::scheduled_windows(all.size(), where);
    TokenBuffer masked;
    append(masked, options.masked.view());
    append(masked, markers_of(policies.wrapper()));
    const StrideLayout layout{options.head ? options.head->view() : head_of(models[0])};
    std::size_t holds = window_of(models[0]);
    for (const Model& model : models) holds = std::min(holds, window_of(model));
    detail::check_window(policies, all, windows.front(), where, layout, holds);
    const std::size_t begin = windows.front().at;
    const std::size_t tokens = windows.back().at + windows.back().tokens - begin;
    const detail::OpenIds open =
        detail::checked_ids(all.first(begin + tokens), static_cast<std::size_t>(models[0].vocab_size()), masked, begin);

    std::vector<double> first(tokens, std::numeric_limits<double>::quiet_NaN());
    std::vector<double> last(tokens);
    std::vector<ScheduledPerplexity> each(windows.size());
    const auto read = [&](Model& model, const detail::ScheduledWindow& window, ScheduledPerplexity& result) {
        const std::size_t end = window.at + window.tokens;
        const std::size_t place = window.at - begin;
        using Asked = std::conditional_t<shared, const R, R>;
        const StrideSource source = stride_source(text, window.at - where.context, end);
        detail::RememberedAnswers allowed{
            AllowedPassages<Asked, Forbidden>{retriever, forbidden, where.passage_tokens, source}};
        const detail::TrueTokens truth{all, window.at, &open, std::span{first}.subspan(place, window.tokens),
                                       std::span{last}.subspan(place, window.tokens)};
        model.truncate(0);
        Decoder decoder{model, allowed, policies.query(WithoutDraft<QueryFrom>{query}).sampler(truth).stopping(NeverStop{})};
        const Generation found =
            decoder.generate(all.subspan(window.at - where.context, where.context), {.max_tokens = window.tokens,
                                                                                     .passages = where.passages,
                                                                                     .ignore_eos = true,
                                                                                     .head = OwnedTokens{layout.head},
                                                                                     .masked = options.masked});
        if (found.stop != StopReason::max_tokens) {
            FLASHBACK_THROW(found.stop == StopReason::window_full ? ErrorCode::window : ErrorCode::contract, "tokens ",
                            window.at, " to ", end, " of the text were read up to token ", window.at + found.tokens.size(),
                            " only, where it ended by ", to_string(found.stop), ", expected a schedule that reads all of them");
        }
        result.retrievals = where.passages > 0 ? allowed.answers().size() : 0;
        result.passages = allowed.passages();
        for (std::size_t i = 0; i < result.retrievals; ++i) {
            const std::size_t at = window.at + found.retrievals[i].at;
            if (where.stride <= all.size() - at && has_run(allowed.answers()[i], all.subspan(at, where.stride)))
                ++result.copied;
        }
        result.counts = found.stats.counts;
        result.branches = found.stats.branches;
        result.rewinds = found.stats.rewinds;
        result.rewound = found.stats.rewound;
        result.seconds = found.stats.seconds;
    };
    std::vector<std::size_t> mine;
    for (std::size_t i = 0; i < windows.size(); ++i) {
        if (options.ranks.mine(i)) mine.push_back(i);
    }
    for (std::size_t done = 0; done < mine.size();) {
        const std::size_t wave = std::min(mine.size() - done, models.size());
        options.executor.run(wave, [&](std::size_t i) {
            const std::size_t window = mine[done + i];
            read(models[i], windows[window], each[window]);
        });
        done += wave;
        if (options.progress) {
            const std::size_t of_all = std::min(done * options.ranks.size(), windows.size());  // as if others did as many
            const detail::ScheduledWindow& newest = windows[of_all - 1];
            const std::size_t end = newest.at + newest.tokens;
            options.progress((end - begin) / where.stride, tokens / where.stride);
        }
    }

    for (std::size_t i = 0; i < windows.size(); ++i) {
        const std::size_t from = options.ranks.owner(i);
        for (std::vector<double>* nats : {&first, &last})
            options.ranks.broadcast(std::span{*nats}.subspan(windows[i].at - begin, windows[i].tokens), from);
    }

    ScheduledPerplexity result;
    detail::average(first, where.stride, result);
    result.first_nats = result.nats;
    detail::average(last, where.stride, result);
    result.windows = windows.size();
    for (const ScheduledPerplexity& window : each) {
        result.retrievals += window.retrievals;
        result.passages += window.passages;
        result.copied += window.copied;
        result.counts += window.counts;
        result.branches.resize(std::max(result.branches.size(), window.branches.size()));
        for (std::size_t i = 0; i < window.branches.size(); ++i) result.branches[i] += window.branches[i];
        result.rewinds += window.rewinds;
        result.rewound += window.rewound;
        result.seconds += window.seconds;
    }
    detail::add_counts(options.ranks, result);
    detail::add_events(options.ranks, result);
    return result;
}

/// The same with one model.
template <LanguageModel Model, class P, class R, QueryBuilder QueryFrom, class Forbidden = FromSource>
ScheduledPerplexity scheduled_perplexity(Model& model, const P& policies, const TextStream& text, R& retriever,
                                         const QueryFrom& query, const StrideOptions& where,
                                         const RetrievalPerplexityOptions& options = {}, const Forbidden& forbidden = {}) {
    return scheduled_perplexity(std::span<Model>{&model, 1}, policies, text, retriever, query, where, options, forbidden);
}

}  // namespace flashback::inline FLASHBACK_ISA

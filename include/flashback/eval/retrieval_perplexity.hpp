/// \file How well a model predicts a text if passages are found for every few tokens of it.
///
/// The text is cut into strides. For each stride, a query made of the text before it finds passages. The model reads head,
/// context and passages in the order that a layout gives them, and then the tokens of the stride. Each of these is predicted
/// from all before it. `retrieve_strides` does the first half, once for all layouts, wrappers and models that are compared.
/// `retrieval_perplexity` does the second half.
///
///     const RetrievedStrides strides = retrieve_strides(text, index, LastNTokens{32}, {.init = 512, .context = 365});
///     const auto append = retrieval_perplexity(session, Policies{}.layout(AppendPassages{}), text.tokens(), strides);
///     const auto prepend = retrieval_perplexity(session, Policies{}.layout(PrependPassages{}), text.tokens(), strides);
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/eval/detail/stride_scorer.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/policy/context_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a perplexity with retrieval.
struct RetrievalPerplexityOptions {
    std::optional<OwnedTokens> head = {};  ///< tokens in front of everything; by default what the (first) model asks for
    OwnedTokens masked = {};               ///< tokens that have no probability, besides the wrapper's markers
    bool passages_replace_text = false;    ///< passages take the place of the oldest tokens of the context: In-Context RALM
    ExecutorRef executor = {};             ///< runs the models at once; it changes no result, and neither does their number
    RanksRef ranks = {};                   ///< divide the work, too, each with models of its own; all get the result
    std::function<void(std::size_t done, std::size_t all)> progress =
        {};  ///< strides; called in the caller's thread, as if other ranks had done as many as this one
};

/// How well a model predicts the strides of a text.
struct RetrievalPerplexity {
    /// Strides that are read in one go, starting with an empty cache. More models than runs are no faster.
    static constexpr std::size_t run = 32;

    std::size_t strides = 0;     ///< how many strides were predicted
    std::size_t tokens = 0;      ///< tokens that were predicted: all of all strides
    std::size_t retrievals = 0;  ///< strides for which a retriever was asked
    std::size_t passages = 0;    ///< passages that it gave
    std::size_t copied = 0;      ///< strides that stand word for word in their passages: the answer was given away
    TokenCounts counts =
        {};  ///< requested: what was wanted before each stride, passages beside it, and all of the stride but its last token
    std::vector<TokenCounts> branches =
        {};           ///< of `counts`, what each branch took, if passages are fused: the rest is what they share
    double nats = 0;  ///< mean of -ln p(token): nats per token
    double standard_error =
        0;  ///< of that mean, from the means of the strides, as if these were independent; NaN for one stride
    std::vector<double> stride_nats = {};  ///< the mean of each stride: to compare two runs stride by stride
    std::vector<double> place_nats =
        {};  ///< the mean of the first tokens of all strides, of the second, ...: what the distance to their text costs

    /// e to the nats per token.
    double perplexity() const { return std::exp(nats); }
    /// The standard error of the perplexity: that of the mean, carried through the exponential.
    double perplexity_standard_error() const { return perplexity() * standard_error; }
    /// The perplexity per word, if the predicted tokens are `words` words.
    /// Source    Ram et al. 2023, In-Context RALM: e to the sum of -ln p(token) over the number of blanks of the text
    double perplexity_per(std::size_t words) const {
        return std::exp(nats * static_cast<double>(tokens) / static_cast<double>(words));
    }
};

/// The mean of the differences of two runs over the same strides, first minus second, in nats per token. The difference is
/// known much better than either mean, because strides that are hard are hard for both.
struct StrideDifference {
    double nats = 0;            ///< mean of the differences, in nats per token
    double standard_error = 0;  ///< of that mean
};

/// Throws    Error{contract} for different numbers of strides
inline StrideDifference stride_difference(const RetrievalPerplexity& a, const RetrievalPerplexity& b) {
    FLASHBACK_ASSERT(a.stride_nats.size() == b.stride_nats.size(), "runs over ", a.stride_nats.size(), " and ",
                     b.stride_nats.size(), " strides cannot be compared, expected the same strides");
    detail::RunningMean mean;
    for (std::size_t i = 0; i < a.stride_nats.size(); ++i) mean.add(a.stride_nats[i] - b.stride_nats[i]);
    return {mean.mean(), mean.standard_error()};
}

namespace detail {

/// Fills in the means of what was predicted.
/// Shape     nats: (strides, stride) row-major
inline void average(std::span<const double> nats, std::size_t stride, RetrievalPerplexity& result) {
    result.tokens = nats.size();
    result.strides = nats.size() / stride;
    result.stride_nats.assign(result.strides, 0);
    result.place_nats.assign(stride, 0);
    RunningMean mean;
    for (std::size_t i = 0; i < result.strides; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < stride; ++j) {
            sum += nats[i * stride + j];
            result.place_nats[j] += nats[i * stride + j] / static_cast<double>(result.strides);
        }
        result.stride_nats[i] = sum / static_cast<double>(stride);
        mean.add(result.stride_nats[i]);
    }
    result.nats = mean.mean();
    result.standard_error = mean.standard_error();
}

/// Adds up what ranks have counted.
inline void add_counts(RanksRef ranks, RetrievalPerplexity& result) {
    if (ranks.size() == 1) return;
    const TokenCounts mine = std::exchange(result.counts, {});
    const std::vector<TokenCounts> branches = std::exchange(result.branches, {});
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        TokenCounts counts = mine;
        std::vector<TokenCounts> each = branches;
        ranks.broadcast_one(counts, rank);
        ranks.broadcast_all(each, rank);
        result.counts += counts;
        result.branches.resize(std::max(result.branches.size(), each.size()));
        for (std::size_t i = 0; i < each.size(); ++i) result.branches[i] += each[i];
    }
}

/// Before anything is evaluated, refuses strides of another text and strides that do not fit into a window. Gives the text up
/// to the last token that is predicted.
template <class P>
TokenSpan check_strides(const P& policies, TokenSpan text, const RetrievedStrides& strides, const StrideLayout& layout,
                        std::size_t window) {
    StrideScratch scratch;
    std::size_t end = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const RetrievedStride stride = strides[i];
        check_within(text, stride, strides.stride());
        const StridePlan plan = plan_stride(policies, {}, {text, stride, strides.stride()}, layout, scratch);
        const std::size_t needed = plan.longest() + strides.stride() - 1;  // the last token is predicted, not read
        if (needed > window) {
            FLASHBACK_THROW(ErrorCode::window, "stride ", i, " needs ", needed, " positions: head, a context of ",
                            stride.context, " tokens, ", stride.found(), " passages of ", stride.passages.size(),
                            " tokens in all, and the stride; but the window of the model holds ", window);
        }
        end = std::max(end, stride.at + strides.stride());
    }
    return text.first(end);
}

}  // namespace detail

/// How well a model predicts strides after their contexts and passages. `policies` lays these out: wrapper, layout, reuse and
/// fusion of a Policies; each model has a copy of the
/// fusion, for each run of strides: one behind a `std::ref` is asked by all of them at once. If there are several models, they divide the strides between them. They must be equal in everything but what
/// they hold; each is used by one thread at a time.
///
/// Strides are read in runs of 32, and each run begins with an empty cache. So counts depend on `reuse`, and not on the number
/// of models. If contexts slide along with the strides, they have only the head in common, and no layout can reuse more. To see
/// what a layout can reuse, let `StrideOptions::hold` keep their start in place.
/// Throws    Error{window} before anything is evaluated, if the model cannot hold what a stride needs; Error{contract} for no
///           models, for strides of another text, for a reuse policy that moves text in a model that cannot, and for an id that is masked or that the model does not have; Error{logits}
///           if logits give a token no probability; what the models throw
/// Cost      each stride once; what the models held is forgotten
/// Source    FlashBack (arXiv 2405.04065), run.py of the official code; Ram et al. 2023, In-Context RALM, for passages that
///           replace text
template <LanguageModel Model, class P>
RetrievalPerplexity retrieval_perplexity(std::span<Model> models, const P& policies, TokenSpan text,
                                         const RetrievedStrides& strides, const RetrievalPerplexityOptions& options = {}) {
    FLASHBACK_ASSERT(!models.empty() && strides.size() > 0, "a perplexity of ", strides.size(), " strides with ", models.size(),
                     " models, expected at least one of each");
    TokenBuffer masked;
    append(masked, options.masked.view());
    append(masked, markers_of(policies.wrapper()));
    const StrideLayout layout{options.head ? options.head->view() : head_of(models[0]), options.passages_replace_text, 0};
    std::size_t window = window_of(models[0]);
    for (const Model& model : models) {
        window = std::min(window, window_of(model));
        FLASHBACK_ASSERT(!moves_text_of(policies.reuse()) || can_evict_of(model),
                         "a reuse policy that moves text to other positions needs a model of rotary positions (RotatingModel), "
                         "found one that is not");
    }
    const TokenSpan scored = detail::check_strides(policies, text, strides, layout, window);
    const detail::OpenIds open =
        detail::checked_ids(scored, static_cast<std::size_t>(models[0].vocab_size()), masked, strides[0].at);

    std::vector<detail::StrideScorer<Model, P>> scorers;
    for (Model& model : models)
        scorers.emplace_back(model, policies, detail::StrideText{text, &strides, layout, masked, &open});
    RetrievalPerplexity result{.retrievals = strides.retrievals()};
    const std::size_t stride = strides.stride();
    std::vector<double> nats(strides.size() * stride);
    constexpr std::size_t run = RetrievalPerplexity::run;
    const auto nats_of_run = [&](std::size_t number) {
        return std::span{nats}.subspan(number * run * stride, std::min(run, strides.size() - number * run) * stride);
    };
    const std::size_t runs = (strides.size() + run - 1) / run;
    std::vector<std::size_t> mine;
    for (std::size_t number = 0; number < runs; ++number) {
        if (options.ranks.mine(number)) mine.push_back(number);
    }
    for (std::size_t done = 0; done < mine.size();) {
        const std::size_t wave = std::min(mine.size() - done, scorers.size());
        options.executor.run(wave, [&](std::size_t i) {
            const std::span<double> its = nats_of_run(mine[done + i]);
            scorers[i].score(mine[done + i] * run, its.size() / stride, its);
        });
        done += wave;
        if (options.progress) options.progress(std::min(done * options.ranks.size() * run, strides.size()), strides.size());
    }
    for (std::size_t number = 0; number < runs; ++number)
        options.ranks.broadcast(nats_of_run(number), options.ranks.owner(number));
    detail::average(nats, stride, result);
    for (const auto& scorer : scorers) {
        result.counts += scorer.counts();
        if (result.branches.size() < scorer.branches().size()) result.branches.resize(scorer.branches().size());
        for (std::size_t i = 0; i < scorer.branches().size(); ++i) result.branches[i] += scorer.branches()[i];
    }
    detail::add_counts(options.ranks, result);
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const RetrievedStride one = strides[i];
        result.passages += one.found();
        if (has_run(one.passages, text.subspan(one.at, stride))) ++result.copied;
    }
    return result;
}

/// The same with one model.
template <LanguageModel Model, class P>
RetrievalPerplexity retrieval_perplexity(Model& model, const P& policies, TokenSpan text, const RetrievedStrides& strides,
                                         const RetrievalPerplexityOptions& options = {}) {
    return retrieval_perplexity(std::span<Model>{&model, 1}, policies, text, strides, options);
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file FLARE: retrieval for what the model is about to say and is not sure of.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/masked_draft.hpp"
#include "flashback/policy/detail/printed.hpp"
#include "flashback/policy/detail/sentence_drafts.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of Flare; the defaults are the paper's for 2WikiMultihopQA.
struct FlareOptions {
    double threshold = 0.8;       ///< theta: a draft with a token of this probability or less is doubted; at 0 each draft is
    double mask = 0.4;            ///< beta: a token of this probability or less is no part of the query
    std::size_t look_ahead = 64;  ///< the most tokens of a sentence
};

/// The options as they are written: "flare(theta:0.8,beta:0.4,look-ahead:64)".
inline std::string to_string(const FlareOptions& options) {
    return "flare(theta:" + detail::printed(options.threshold) + ",beta:" + detail::printed(options.mask) +
           ",look-ahead:" + std::to_string(options.look_ahead) + ")";
}

/// FLARE, a method: schedule and query. It retrieves for the prompt, and from then on writes each sentence as a draft. If a token of the
/// draft has a probability of `threshold` or less, the draft is taken back, its tokens of a probability above `mask` are the query, and the
/// sentence is written anew with what is found; that one stands, however sure it is. Then, and after a draft of which the model is sure,
/// what was found is dropped and the next draft begins; passages that another schedule found stay. The last words are a draft, too, whatever the text ends for.
///
/// If nothing of a draft is left to search for, the query is the newest 32 tokens in front of it. A retrieval that another schedule asks for
/// gets those as well.
///
/// As in the paper, drafts see no passages; but the first one sees what was found for the prompt, as in the official code, in which all
/// drafts see what was found last. Dropping passages costs a plan after each sentence that was written with some: behind the text, they
/// and that sentence go, and the sentence is evaluated again.
///
/// `Sentences` is any callable `bool(TokenSpan context)`: whether a sentence ends with the newest token.
/// Cost      an exponential per logit and token, because it asks for surprisals; at most two writings of each sentence
/// Source    Jiang et al. 2023, Active Retrieval Augmented Generation (arXiv 2305.06983), section 3.2, theta and beta in equations 1
///           to 3; 2 passages for 2WikiMultihopQA, theta 0 and 5 passages for WikiAsp
template <class Sentences>
class Flare {
    static_assert(
        detail::EndsSentences<Sentences>,
        "flashback: the sentence rule of Flare must be copyable and callable as ends(TokenSpan context) and return bool");

public:
    /// Throws    Error{contract} if a probability is not in [0, 1], or if the look-ahead is 0
    explicit Flare(Sentences ends, FlareOptions options = {}) : ends_(std::move(ends)), options_(options) {
        FLASHBACK_ASSERT(options.threshold >= 0 && options.threshold <= 1,
                         "the threshold of Flare is a probability in [0, 1], found ", options.threshold);
        FLASHBACK_ASSERT(options.mask >= 0 && options.mask <= 1, "the mask of Flare is a probability in [0, 1], found ",
                         options.mask);
        FLASHBACK_ASSERT(options.look_ahead > 0, "Flare needs a look-ahead of at least 1 token, found 0");
    }

    /// What it was made with.
    const FlareOptions& options() const noexcept { return options_; }

    Decision schedule(const StepView& step) {
        drafts_.meet(step.generated());
        if (step.generated() == 0) {
            drafts_.expect(step);
            return Decision::retrieve();
        }
        return drafts_.judge(step, ends_, options_.look_ahead, [&] { return doubtful(step); });
    }

    Decision at_end(const StepView& step, StopReason /*reason*/) {
        drafts_.meet(step.generated());
        return drafts_.judge_end(step, [&] { return doubtful(step); });
    }

    Query query(const StepView& step) {
        if (step.generated() == 0) return {step.context};
        query_.clear();
        if (drafts_.doubted()) detail::masked_draft(step, options_.mask, query_);
        if (query_.empty()) return LastNTokens{32}(step);
        return {query_};
    }

    void reset() {
        drafts_.reset();
        query_.reserve(std::min<std::size_t>(options_.look_ahead, 4096));
    }
    void rewind(std::size_t tokens) { drafts_.rewind(tokens); }
    static constexpr bool wants_surprisals() noexcept { return true; }

private:
    bool doubtful(const StepView& step) const {
        if (options_.threshold == 0) return true;
        FLASHBACK_ASSERT(step.surprisals.size() >= drafts_.length(), "Flare needs the surprisals of ", drafts_.length(),
                         " tokens, found ", step.surprisals.size());
        return std::ranges::any_of(step.surprisals.last(drafts_.length()),
                                   [&](double surprisal) { return detail::is_unlikely(surprisal, options_.threshold); });
    }

    Sentences ends_;
    FlareOptions options_;
    detail::SentenceDrafts drafts_;
    TokenBuffer query_;
};

}  // namespace flashback::inline FLASHBACK_ISA

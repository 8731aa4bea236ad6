/// \file DRAGIN: retrieval for what the model is unsure of and what matters for the rest of the sentence.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/content_words.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/attended_words.hpp"
#include "flashback/policy/detail/printed.hpp"
#include "flashback/policy/detail/sentence_drafts.hpp"
#include "flashback/policy/detail/sentence_signals.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of Dragin; the defaults are the official ones for Llama-2-7B and 2WikiMultihopQA.
struct DraginOptions {
    double threshold = 1.0;        ///< theta: a content word whose score is above this is doubted
    std::size_t query_words = 25;  ///< the most words of a query
    std::size_t look_ahead = 64;   ///< the most tokens of a sentence; ours
};

/// The options as they are written: "dragin(theta:1,words:25,look-ahead:64)".
inline std::string to_string(const DraginOptions& options) {
    return "dragin(theta:" + detail::printed(options.threshold) + ",words:" + std::to_string(options.query_words) +
           ",look-ahead:" + std::to_string(options.look_ahead) + ")";
}

/// DRAGIN, a method: schedule and query. Each sentence is written as a draft, without passages. When it ends, its words are scored (RIND):
///
///     S(w) = n * H(w) * a(w) / (sum of a over the n words of the sentence)
///
/// H(w) is the entropy of the distribution that the word was taken from, in nats, and a(w) how much the positions of the sentence, its own
/// included, read of it: in the last layer, the most by each head, and of that the mean over heads. Of the tokens of a word, H is the mean
/// and a the sum. If the score of a content word is above the threshold, the draft is taken back and written anew with what is found; that
/// sentence stands. The query (QFS) is of the content words that the position in front of the first such word reads most, in all of the
/// text up to there. Last words are judged as a sentence is.
///
/// Nothing is evaluated twice for that: what a position reads is looked at when it gives the next token, as it is held then, passages
/// included; the official code looks in a second pass, over the generated text alone. Nobody has read the newest token of a draft yet, the
/// full stop, so that its a is 0. If another schedule takes tokens of an earlier sentence back, what is left of that is not scored again; passages that another schedule found stay.
///
/// If no content word was read, the query is the newest 32 tokens in front of the draft. A retrieval that another schedule asks for gets
/// those as well.
///
/// `Sentences` is any callable `bool(TokenSpan context)`: whether a sentence ends with the newest token. `Counts` is a ContentWord.
/// Requires  an AttentiveModel. A copy of a generator that needs a token lacks what was read for it, and is refused in words
/// Cost      an exponential per logit and token; for a token of a draft, the weights of the last layer, and memory for one number per token
///           of the text and one per head and token of the sentence
/// Source    Su et al. 2024, DRAGIN (arXiv 2403.10081), equations 1 to 6, and its official code; 3 passages; theta 0.6 to 1.5 by model and
///           data set (Llama-2-7B: HotpotQA 0.8, IIRC 0.6, StrategyQA 0.75), 25 or 35 words
template <class Sentences, class Counts = EveryToken>
class Dragin {
    static_assert(
        detail::EndsSentences<Sentences>,
        "flashback: the sentence rule of Dragin must be copyable and callable as ends(TokenSpan context) and return bool");
    static_assert(ContentWord<Counts>,
                  "flashback: the content words of Dragin must be copyable and callable as counts(TokenId) and return bool");

public:
    /// Throws    Error{contract} if the threshold is not a number of 0 or more, or if query_words or look_ahead is 0
    explicit Dragin(Sentences ends, Counts counts = {}, DraginOptions options = {})
        : ends_(std::move(ends)), counts_(std::move(counts)), options_(options) {
        FLASHBACK_ASSERT(options.threshold >= 0, "the threshold of Dragin must be 0 or more, found ", options.threshold);
        FLASHBACK_ASSERT(options.query_words > 0, "Dragin needs a query of at least 1 word, found 0");
        FLASHBACK_ASSERT(options.look_ahead > 0, "Dragin needs a look-ahead of at least 1 token, found 0");
    }

    /// What it was made with.
    const DraginOptions& options() const noexcept { return options_; }

    Decision schedule(const StepView& step) {
        look(step);
        return drafts_.judge(step, ends_, options_.look_ahead, [&] { return doubtful(step); });
    }

    Decision at_end(const StepView& step, StopReason /*reason*/) {
        look(step);
        return drafts_.judge_end(step, [&] { return doubtful(step); });
    }

    Query query(const StepView& step) {
        if (drafts_.doubted() && !query_.empty()) return {query_};
        return LastNTokens{32}(step);
    }

    void reset() {
        drafts_.reset();
        signals_.reset();
        words_.clear();
        query_.clear();
        prompt_ = 0;
    }
    void rewind(std::size_t tokens) {
        drafts_.rewind(tokens);
        const std::size_t generated = drafts_.seen();
        signals_.keep(generated);
        words_.keep(prompt_ + generated);
    }
    static constexpr bool wants_attention() noexcept { return true; }

private:
    void look(const StepView& step) {
        prompt_ = step.prompt_tokens;
        drafts_.meet(step.generated());
        if (!drafts_.is_draft() || drafts_.length() == 0 || signals_.know(step.generated())) return;
        words_.read(step.context, counts_);
        signals_.look(step, drafts_.begin());
    }

    /// Whether the sentence has a content word of a score above the threshold; the query is for the first one.
    bool doubtful(const StepView& step) {
        const std::size_t sentence = step.prompt_tokens + signals_.begin();
        const auto word = signals_.first_above(options_.threshold, sentence, words_);
        if (word == signals_.size()) return false;
        most_read_.find(step.context, signals_.read_before(word), words_, options_.query_words, query_);
        return true;
    }

    Sentences ends_;
    Counts counts_;
    DraginOptions options_;
    detail::SentenceDrafts drafts_;
    detail::SentenceSignals signals_;
    detail::TextWords words_;
    detail::AttendedWords most_read_;
    TokenBuffer query_;
    std::size_t prompt_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file IRCoT: a retrieval for each sentence of a chain of thought.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/sentence_drafts.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stopping.hpp"

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// No sentence answers the question.
struct NeverAnswers {
    constexpr bool operator()(TokenSpan /*sentence*/) const noexcept { return false; }
};

/// A sentence answers the question if its text contains a phrase.
///
/// `Detokenize` is any callable that gives the text that a token adds, as in StopStrings.
/// Source    Trivedi et al. 2023, IRCoT, section 3: "answer is"
template <class Detokenize>
class AnswerPhrase {
    static_assert(detail::GivesText<Detokenize>,
                  "flashback: the detokenizer of AnswerPhrase must be callable as detokenize(TokenId) and return text");

public:
    /// Throws    Error{contract} if the phrase is empty
    explicit AnswerPhrase(Detokenize detokenize, std::string phrase = "answer is")
        : detokenize_(std::move(detokenize)), phrase_(std::move(phrase)) {
        FLASHBACK_ASSERT(!phrase_.empty(), "the phrase of an answer is empty, expected at least 1 character");
    }

    bool operator()(TokenSpan sentence) {
        text_.clear();
        for (const TokenId token : sentence) text_ += members::unwrap(detokenize_)(token);
        return text_.find(phrase_) != text_.npos;
    }

private:
    Detokenize detokenize_;
    std::string phrase_;
    std::string text_;
};

/// The settings of IrCot.
struct IrCotOptions {
    std::size_t steps = 8;  ///< the most sentences
};

/// The options as they are written: "ircot(steps:8)".
inline std::string to_string(const IrCotOptions& options) { return "ircot(steps:" + std::to_string(options.steps) + ")"; }

/// IRCoT, a method: schedule and query. It retrieves for the prompt, and then for each sentence that it has written, which is the query. The
/// text ends after a sentence for which `answers(sentence)` is true, or after `steps` sentences. Nothing is taken back.
///
/// A retrieval replaces the passages that stand; the paper collects them. Put an Accumulated around the retriever for that, with
/// GenerateOptions::passages at 15.
///
/// `Sentences` is any callable `bool(TokenSpan context)`: whether a sentence ends with the newest token; `Answers` is any callable
/// `bool(TokenSpan sentence)`, of a sentence that has ended.
/// Source    Trivedi et al. 2023, Interleaving Retrieval with Chain-of-Thought Reasoning (arXiv 2212.10509), section 3; 8 steps, 15
///           paragraphs
template <class Sentences, class Answers = NeverAnswers>
class IrCot {
    static_assert(
        detail::EndsSentences<Sentences>,
        "flashback: the sentence rule of IrCot must be copyable and callable as ends(TokenSpan context) and return bool");
    static_assert(detail::EndsSentences<Answers>,
                  "flashback: what IrCot asks for an answer must be copyable and callable as answers(TokenSpan sentence) and "
                  "return bool");

public:
    /// With an `Answers` that needs no arguments; by default nothing is an answer.
    explicit IrCot(Sentences ends, IrCotOptions options = {}) requires std::default_initializable<Answers>
        : IrCot(std::move(ends), Answers{}, options) {}
    /// Throws    Error{contract} for 0 steps
    IrCot(Sentences ends, Answers answers, IrCotOptions options = {})
        : ends_(std::move(ends)), answers_(std::move(answers)), options_(options) {
        FLASHBACK_ASSERT(options.steps > 0, "IrCot needs at least 1 step, found 0");
    }

    /// What it was made with.
    const IrCotOptions& options() const noexcept { return options_; }

    Decision schedule(const StepView& step) {
        sentences_.meet(step.generated());
        if (step.generated() == 0) return Decision::retrieve();
        if (sentences_.length() == 0 || !detail::sentence_ends(ends_, step.context)) return Decision::go_on();
        sentences_.stand();
        const bool answered = members::unwrap(answers_)(last(step, step.generated()));
        return answered || sentences_.ended() >= options_.steps ? Decision::stop() : Decision::retrieve();
    }

    /// The sentence that ended last; before that the prompt.
    Query query(const StepView& step) const {
        const TokenSpan sentence = last(step, step.generated() - step.rewind);
        return {sentence.empty() ? step.context.first(step.prompt_tokens) : sentence};
    }

    void reset() { sentences_.reset(); }
    void rewind(std::size_t tokens) { sentences_.rewind(tokens); }

private:
    TokenSpan last(const StepView& step, std::size_t generated) const {
        const auto sentence = sentences_.last_ended(generated);
        return step.context.subspan(step.prompt_tokens + sentence.first, sentence.second - sentence.first);
    }

    Sentences ends_;
    Answers answers_;
    IrCotOptions options_;
    detail::SentenceDrafts sentences_;
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Self-RAG: a model that was taught to say whether it needs a passage.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/printed.hpp"
#include "flashback/policy/detail/sentence_drafts.hpp"
#include "flashback/policy/step_view.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of ReflectionRatio: the ids of the two tokens in the model's vocabulary, and what their ratio must exceed.
struct ReflectionOptions {
    TokenId retrieve = -1;     ///< [Retrieval]
    TokenId no_retrieve = -1;  ///< [No Retrieval]
    double delta = 0.2;        ///< in [0, 1]
};

/// The options as they are written: "self-rag(retrieve:5,no-retrieve:6,delta:0.2)".
inline std::string to_string(const ReflectionOptions& options) {
    return "self-rag(retrieve:" + std::to_string(options.retrieve) + ",no-retrieve:" + std::to_string(options.no_retrieve) +
           ",delta:" + detail::printed(options.delta) + ")";
}

/// Self-RAG's rule: it retrieves at the start of a sentence if P(retrieve) / (P(retrieve) + P(no_retrieve)) > delta, where both are
/// probabilities of the first token of the sentence. That token is known when it was taken; so it is taken back, and written anew with what is
/// found. A place is judged once.
///
/// The ratio is of probabilities. One of log-probabilities, as in one of the official scripts, is another number. Both tokens have logits
/// only if they are not masked; one of them may be.
///
/// `Sentences` is any callable `bool(TokenSpan context)`: whether a sentence ends with the newest token.
/// Source    Asai et al. 2024, Self-RAG (arXiv 2310.11511), section 3.3 (adaptive retrieval with threshold)
template <class Sentences>
class ReflectionRatio {
    static_assert(
        detail::EndsSentences<Sentences>,
        "flashback: the sentence rule of ReflectionRatio must be copyable and callable as ends(TokenSpan context) and "
        "return bool");

public:
    /// Throws    Error{contract} if the ids are negative or the same, or if delta is not in [0, 1]
    ReflectionRatio(Sentences ends, ReflectionOptions options) : ends_(std::move(ends)), options_(options) {
        FLASHBACK_ASSERT(options.retrieve >= 0 && options.no_retrieve >= 0 && options.retrieve != options.no_retrieve,
                         "ReflectionRatio needs the ids of two tokens, found ", options.retrieve, " and ", options.no_retrieve);
        FLASHBACK_ASSERT(options.delta >= 0 && options.delta <= 1, "the delta of ReflectionRatio must be in [0, 1], found ",
                         options.delta);
    }

    /// What it was made with.
    const ReflectionOptions& options() const noexcept { return options_; }

    /// Throws    Error{contract} if a token has no logit, or if both are masked
    Decision operator()(const StepView& step) {
        sentences_.meet(step.generated());
        if (sentences_.length() == 0) return Decision::go_on();
        if (sentences_.length() == 1 && sentences_.is_draft()) {
            sentences_.is_judged();
            if (ratio(step.logits) > options_.delta) return Decision::retrieve(1);
        }
        if (detail::sentence_ends(ends_, step.context)) sentences_.stand();
        return Decision::go_on();
    }

    void reset() { sentences_.reset(); }
    void rewind(std::size_t tokens) { sentences_.rewind(tokens); }

private:
    double ratio(std::span<const float> logits) const {
        const auto logit_of = [&](TokenId token) -> double {
            FLASHBACK_ASSERT(static_cast<std::size_t>(token) < logits.size(), "ReflectionRatio looks at token ", token,
                             ", but the model has ", logits.size(), " logits");
            return logits[static_cast<std::size_t>(token)];
        };
        const double yes = logit_of(options_.retrieve);
        const double no = logit_of(options_.no_retrieve);
        constexpr double masked = -std::numeric_limits<double>::infinity();
        FLASHBACK_ASSERT(yes > masked || no > masked, "the tokens ", options_.retrieve, " and ", options_.no_retrieve,
                         " of ReflectionRatio are both masked, so that their ratio is not defined: expected at least one that "
                         "can be taken");
        return 1 / (1 + std::exp(no - yes));  // what both are divided by, the sum over all tokens, cancels
    }

    Sentences ends_;
    ReflectionOptions options_;
    detail::SentenceDrafts sentences_;
};

}  // namespace flashback::inline FLASHBACK_ISA

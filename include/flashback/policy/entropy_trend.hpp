/// \file ETC: retrieval where the model's uncertainty turns upwards or downwards.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/content_words.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/attended_words.hpp"
#include "flashback/policy/detail/entropy_series.hpp"
#include "flashback/policy/detail/printed.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of Etc; the defaults are the official ones for Llama-3-8B and IIRC.
struct EtcOptions {
    double alpha = 1.3;  ///< a smoothed second difference of this or more, up or down, is a turn; to be set for each model
    std::size_t query_words = 35;  ///< the most words of a query
};

/// The options as they are written: "etc(alpha:1.3,words:35)".
inline std::string to_string(const EtcOptions& options) {
    return "etc(alpha:" + detail::printed(options.alpha) + ",words:" + std::to_string(options.query_words) + ")";
}

/// ETC, the entropy-trend constraint, a method: schedule and query. H_1, H_2, ... are the entropies, in nats, of what the content words
/// since the last retrieval of this method were taken from. From the third word on
///
///     D_t = H_t - 2 H_(t-1) + H_(t-2)          E_t = (D_3 + ... + D_t) / (t - 2)
///     w_t = |D_(t-1) - E_t| / (|D_t - E_t| + |D_(t-1) - E_t|)          M_t = w_t D_t + (1 - w_t) D_(t-1)
///
/// so that a single outlier counts for less; D_2 is 0, and w_t is 1 if both distances are 0. If |M_t| >= alpha, that word is taken back, a
/// retrieval is made, and the word is written anew; a new series begins with it, so that a place is judged once and at least two words stand
/// between two retrievals. The query is that of Dragin: the content words that the position in front of the word reads most. Passages stand
/// until the next retrieval.
///
/// It decides at once, and takes one token back; the official code drafts, cuts the text at the first such word, and writes a sentence. The
/// code weighs M with attention, as the score of Dragin is, and smooths less (0.9 + 0.1 w); this is the paper's formula. A token that goes
/// on with a word is not counted. If no content word was read, the query is the newest 32 tokens. A retrieval that another schedule asks for
/// gets those as well.
///
/// `Counts` is a ContentWord.
/// Requires  an AttentiveModel. A copy of a generator that needs a token lacks what was read for it, and is refused in words
/// Cost      an exponential per logit and token; at a retrieval the weights of the last layer; memory for a few numbers per content word
/// Source    Li et al. 2025, Modeling Uncertainty Trends for Timely Retrieval in Dynamic RAG (arXiv 2511.09980), and its official code; 3
///           passages
template <class Counts = EveryToken>
class Etc {
    static_assert(ContentWord<Counts>,
                  "flashback: the content words of Etc must be copyable and callable as counts(TokenId) and return bool");

public:
    /// Throws    Error{contract} if alpha is not a number above 0, or if query_words is 0
    explicit Etc(Counts counts = {}, EtcOptions options = {}) : counts_(std::move(counts)), options_(options) {
        FLASHBACK_ASSERT(options.alpha > 0, "the alpha of Etc must be above 0, found ", options.alpha);
        FLASHBACK_ASSERT(options.query_words > 0, "Etc needs a query of at least 1 word, found 0");
    }

    /// What it was made with.
    const EtcOptions& options() const noexcept { return options_; }

    Decision schedule(const StepView& step) { return judge(step); }
    /// The newest token of a text that ends for another reason than eos is judged, too.
    Decision at_end(const StepView& step, StopReason /*reason*/) { return judge(step); }

    Query query(const StepView& step) {
        if (turned_ && !query_.empty()) return {query_};
        return LastNTokens{32}(step);
    }

    void reset() {
        series_.reset();
        words_.clear();
        query_.clear();
        turned_ = false;
        seen_ = prompt_ = 0;
    }
    void rewind(std::size_t tokens) {
        seen_ -= std::min(tokens, seen_);
        series_.keep(seen_);
        if (turned_) series_.begin_anew(seen_);
        turned_ = false;
        words_.keep(prompt_ + seen_);
    }
    static constexpr bool wants_attention() noexcept { return true; }

private:
    Decision judge(const StepView& step) {
        turned_ = false;  // if it is still set, another schedule kept the word
        if (step.generated() == seen_) return Decision::go_on();
        seen_ = step.generated();
        prompt_ = step.prompt_tokens;
        words_.read(step.context, counts_);
        const std::size_t newest = step.context.size() - 1;
        if (!words_.counts(newest) || !words_.begins(newest)) return Decision::go_on();
        series_.add(seen_, step.entropy());
        if (std::fabs(series_.smoothed()) < options_.alpha) return Decision::go_on();
        read_.clear();
        detail::read_of_text(step, detail::last_layer(step), read_);
        most_read_.find(step.context, read_, words_, options_.query_words, query_);
        turned_ = true;
        return Decision::retrieve(1);
    }

    Counts counts_;
    EtcOptions options_;
    detail::EntropySeries series_;
    detail::TextWords words_;
    detail::AttendedWords most_read_;
    std::vector<float> read_;
    TokenBuffer query_;
    bool turned_ = false;   // the newest token is being taken back
    std::size_t seen_ = 0;  // generated tokens
    std::size_t prompt_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

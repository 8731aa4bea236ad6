/// \file A text that is drafted sentence by sentence: what FLARE and DRAGIN share.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A rule that says whether a sentence ends with the newest token of a context.
template <class R>
concept EndsSentences = std::copy_constructible<R> && requires(Unwrapped<R>& rule, TokenSpan context) {
    { rule(context) } -> std::same_as<bool>;
};

/// Whether a sentence ends with the newest token. Tokens side by side with which one ends, a full stop and a quote say, are one end,
/// the first of them.
template <class Rule>
bool sentence_ends(Rule& rule, TokenSpan context) {
    auto& ends = unwrap(rule);
    return ends(context) && (context.size() < 2 || !ends(context.first(context.size() - 1)));
}

/// Where the sentences of the generated text begin, and which of them are drafts, to be judged when they end. A draft that is doubted is
/// taken back and written anew with what is found for it; that sentence stands, whatever it is. So each retrieval is for a sentence, and
/// there are no more than two writings of each.
class SentenceDrafts {
public:
    void reset() {
        marks_.clear();
        marks_.reserve(64);
        marks_.push_back({0, true});
        seen_ = own_ = 0;
        doubted_ = rewound_ = false;
    }

    /// The newest n generated tokens were taken back. What is left of a sentence goes on as what it was.
    void rewind(std::size_t n) {
        doubted_ = false;
        rewound_ = true;
        seen_ -= std::min(n, seen_);
    }

    /// So many tokens are generated now. A draft that was doubted and is still there was kept by another schedule: it stands.
    void meet(std::size_t generated) {
        if (doubted_) {
            own_ = 0;
            stand();
        }
        if (rewound_) {
            // One token was taken since, or none at an end. What was taken back may have had a token that this did not see, if it is not
            // asked at ends: then more was left than it counted.
            const std::size_t left = std::max(seen_, generated - std::min<std::size_t>(generated, 1));
            while (marks_.size() > 1 && marks_.back().begin > left) marks_.pop_back();
            rewound_ = false;
        }
        seen_ = generated;
    }

    /// Tokens that are generated, as far as it knows.
    std::size_t seen() const noexcept { return seen_; }
    /// Tokens of the newest sentence.
    std::size_t length() const noexcept { return seen_ - begin(); }
    /// Generated tokens in front of the newest sentence.
    std::size_t begin() const noexcept { return marks_.back().begin; }
    /// Where the last sentence begins and ends that ended within the first generated tokens; 0 and 0 if none did.
    std::pair<std::size_t, std::size_t> last_ended(std::size_t generated) const noexcept {
        std::size_t last = marks_.size() - 1;
        while (last > 0 && marks_[last].begin > generated) --last;
        if (last == 0) return {0, 0};
        return {marks_[last - 1].begin, marks_[last].begin};
    }
    /// Sentences that ended.
    std::size_t ended() const noexcept { return marks_.size() - 1; }
    bool is_draft() const noexcept { return marks_.back().draft; }
    /// Whether the newest sentence is being taken back.
    bool doubted() const noexcept { return doubted_; }

    /// The newest sentence is no draft, now or when it is written anew.
    void is_judged() noexcept { marks_.back().draft = false; }

    /// The newest sentence has ended; a draft begins.
    void stand() {
        doubted_ = false;
        marks_.push_back({seen_, true});
    }

    /// A retrieval of this method comes, which is not for a draft.
    void expect(const StepView& step) noexcept { own_ = step.retrievals + 1; }

    /// At the end of a sentence, or at `look_ahead` tokens: a draft for which `doubtful()` is taken back, and anything else stands; then
    /// the next draft is written without the passages that this method found. Those of another schedule are left alone.
    template <class Rule, class Doubtful>
    Decision judge(const StepView& step, Rule& ends, std::size_t look_ahead, Doubtful&& doubtful) {
        if (length() == 0 || (length() < look_ahead && !sentence_ends(ends, step.context))) return Decision::go_on();
        const Decision decision = judge_end(step, doubtful);
        if (decision.retrieves()) return decision;
        stand();
        return step.passages.empty() || step.retrievals != own_ ? Decision::go_on() : Decision::drop_passages();
    }

    /// The same for the last words of a text, where no sentence need end.
    template <class Doubtful>
    Decision judge_end(const StepView& step, Doubtful&& doubtful) {
        if (length() == 0 || !is_draft() || !doubtful()) return Decision::go_on();
        is_judged();
        expect(step);
        doubted_ = true;
        return Decision::retrieve(length());
    }

private:
    struct Mark {
        std::size_t begin;
        bool draft;
    };

    std::vector<Mark> marks_{{0, true}};
    std::size_t seen_ = 0;  // tokens generated when it was last asked, less what was taken back since
    std::size_t own_ = 0;   // the retrieval, from 1, that was the newest one of this method; 0 if none is expected
    bool doubted_ = false;
    bool rewound_ = false;  // tokens were taken back since it was last asked
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

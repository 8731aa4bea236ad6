/// \file Sentences of tokens: where one ends, retrieving after each, and the last one as a query.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/detail/ends_sentence.hpp"
#include "flashback/policy/detail/sentence_drafts.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stopping.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Says whether a sentence ends with the newest token of a text: `rule(context)` gives a bool. It stays true for what still
/// belongs to that end, such as a closing quote that is a token of its own. It is copyable, and has no memory.
template <class R>
concept SentenceRule = detail::EndsSentences<R>;

/// A sentence ends where the text of the newest tokens ends with a . ! ? or the like of other scripts, perhaps with closing
/// quotes, brackets and spaces after it, and where the newest token has a line break. A single full stop after a digit or a
/// single letter does not count: "3." may go on to "3.14" and "J." to "J. Bach", which cannot be known yet. Abbreviations such as
/// "Mr." do count.
///
/// `Detokenize` is any callable that gives the text that a token adds, as in StopStrings.
/// Cost      the text of at most 16 tokens
template <class Detokenize>
class SentenceByPiece {
    static_assert(detail::GivesText<Detokenize>,
                  "flashback: the detokenizer of SentenceByPiece must be callable as detokenize(TokenId) and return text");

public:
    /// `detokenize(token)` gives the text of a token.
    explicit SentenceByPiece(Detokenize detokenize) : detokenize_(std::move(detokenize)) {}

    bool operator()(TokenSpan context) {
        constexpr std::size_t most_tokens = 16;
        std::array<char, 48> tail;  // filled from its end
        std::size_t from = tail.size();
        for (std::size_t back = 1; back <= std::min(most_tokens, context.size()) && from > 0; ++back) {
            const auto add = [&](std::string_view text) {
                const std::size_t taken = std::min(text.size(), from);
                std::ranges::copy(text.substr(text.size() - taken), tail.begin() + static_cast<std::ptrdiff_t>(from - taken));
                from -= taken;
                return back == 1 && detail::has_line_break(text);
            };
            auto&& text = detokenize_(context[context.size() - back]);
            if constexpr (std::same_as<std::remove_cvref_t<decltype(text)>, char>) {
                if (add({&text, 1})) return true;
            } else {
                if (add(text)) return true;
            }
        }
        return detail::ends_sentence({tail.data() + from, tail.size() - from});
    }

private:
    Detokenize detokenize_;
};

/// Retrieves before the first token, and again after each sentence. Tokens side by side with which a sentence ends are one end,
/// the first of them.
/// Source    Trivedi et al. 2023, IRCoT, section 3: a retrieval for each sentence of the chain of thought
template <class Rule>
class EverySentence {
    static_assert(SentenceRule<Rule>,
                  "flashback: the rule of EverySentence must be callable as rule(TokenSpan context) and return bool");

public:
    /// `rule` says whether the newest token ends a sentence.
    explicit EverySentence(Rule rule) : rule_(std::move(rule)) {}

    bool operator()(const StepView& step) {
        if (step.retrievals == 0) return true;
        return step.since_retrieval > 0 && detail::sentence_ends(rule_, step.context);
    }
    void reset() noexcept {}  // the rule may be called only if it is not const, and remembers nothing

private:
    Rule rule_;
};

/// The last sentence of the context, and at most its newest `most` tokens: the unfinished one if text stands after the last end
/// of a sentence, else the one that ended last. A draft that is taken back is no part of it.
/// Source    Trivedi et al. 2023, IRCoT, section 3: the last sentence of the chain of thought is the query
/// Cost      a call of the rule for each token of the query
template <class Rule>
class LastSentence {
    static_assert(SentenceRule<Rule>,
                  "flashback: the rule of LastSentence must be callable as rule(TokenSpan context) and return bool");

public:
    /// Throws    Error{contract} if at most 0 tokens are wanted
    explicit LastSentence(Rule rule, std::size_t most = 64) : rule_(std::move(rule)), most_(most) {
        FLASHBACK_ASSERT(most > 0, "LastSentence needs a query of at least 1 token, found 0");
    }

    Query operator()(const StepView& step) {
        auto& ends = members::unwrap(rule_);
        const TokenSpan text = step.kept();
        const std::size_t least = text.size() - std::min(most_, text.size());
        std::size_t first = text.size();
        while (first > least && ends(text.first(first))) --first;  // its end, of one token or several
        while (first > least && !ends(text.first(first))) --first;
        return {text.subspan(first)};
    }

private:
    Rule rule_;
    std::size_t most_;
};

}  // namespace flashback::inline FLASHBACK_ISA

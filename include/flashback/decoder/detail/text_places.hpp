/// \file Where the tokens of a text stand among the positions that a model holds, for policies that look at its attention.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A text, and which of its tokens a model is to read: all but `dropped` of them after the first `sinks`.
struct ReadText {
    TokenSpan context;
    std::size_t sinks = 0;
    std::size_t dropped = 0;

    std::size_t size() const noexcept { return context.size() - dropped; }
    /// Where the i-th token that is read stands in the text.
    std::size_t index(std::size_t i) const noexcept { return i < sinks ? i : i + dropped; }
    TokenId operator[](std::size_t i) const noexcept { return context[index(i)]; }
};

/// What a layout put down: the head, the text, and passages as they were wrapped.
struct PlannedText {
    TokenSpan tokens;
    std::size_t head = 0;
    std::span<const TokenSpan> passages = {};
};

/// The position of each token of a text.
class TextPlaces {
public:
    void reserve(std::size_t tokens) { places_.reserve(tokens); }
    void clear() noexcept { places_.clear(); }
    /// Takes the newest tokens back.
    void rewind(std::size_t tokens) { places_.resize(places_.size() - std::min(tokens, places_.size())); }
    /// A token was taken, and is not held yet.
    void push() { places_.push_back(StepAttention::nowhere); }
    /// The newest token is held at the last of so many positions.
    void hold(std::size_t held) { places_.back() = held - 1; }
    std::span<const std::size_t> view() const noexcept { return places_; }

    /// Finds the text in what was planned. A layout puts down tokens, and does not say which are text. Ours put the head down, and then
    /// the text in one piece or several, with whole passages around them: so tokens are read, in one piece if they can be. If that can
    /// be done in two ways, both are right: the model reads the same. What cannot be read so is of another layout: then the text is looked
    /// for in one piece behind the head, and at the end. Else it is nowhere.
    void find(const ReadText& text, const PlannedText& planned) {
        if (read(text, planned, true) || read(text, planned, false)) return;
        places_.assign(text.context.size(), StepAttention::nowhere);
        if (put(text, planned.tokens, planned.head)) return;
        if (planned.tokens.size() >= text.size()) put(text, planned.tokens, planned.tokens.size() - text.size());
    }

private:
    /// So often tokens are read as text or as a passage if they may be either; then it is given up.
    static constexpr std::size_t most_choices = 1024;

    /// Reads what was planned as text and passages. What stands behind all that is looked for, as a repetition does, is neither.
    bool read(const ReadText& text, const PlannedText& planned, bool in_one_piece) {
        places_.assign(text.context.size(), StepAttention::nowhere);
        placed_.assign(planned.passages.size(), false);
        left_ = 0;
        for (std::size_t p = 0; p < placed_.size(); ++p) {
            placed_[p] = planned.passages[p].empty();
            if (!placed_[p]) ++left_;
        }
        in_one_piece_ = in_one_piece;
        choices_ = 0;
        return read_on(text, planned, planned.head, 0);
    }

    /// The same from a position on, where the text goes on with its i-th token.
    bool read_on(const ReadText& text, const PlannedText& planned, std::size_t at, std::size_t i) {
        while (i < text.size() || left_ > 0) {
            const bool is_text = at < planned.tokens.size() && i < text.size() && text[i] == planned.tokens[at];
            const bool parts_text = i > 0 && i < text.size();
            const std::size_t first = in_one_piece_ && parts_text ? placed_.size() : passage_at(planned, at, 0);
            if (first < placed_.size()) {
                if (choices_++ == most_choices) return false;
                // What has all tokens of a passage is rather text that quotes it; what has some of them is rather the passage.
                const bool quotes = is_text && goes_on(text, i, planned.passages[first]);
                if (quotes) {
                    places_[text.index(i)] = at;
                    if (read_on(text, planned, at + 1, i + 1)) return true;
                }
                for (std::size_t p = first; p < placed_.size(); p = passage_at(planned, at, p + 1)) {
                    placed_[p] = true;
                    --left_;
                    if (read_on(text, planned, at + planned.passages[p].size(), i)) return true;
                    placed_[p] = false;
                    ++left_;
                }
                if (quotes) return false;
            }
            if (!is_text) return false;
            places_[text.index(i++)] = at++;
        }
        return true;
    }

    /// The first passage from the p-th on that was not read yet and stands at `at`; if none does, how many there are.
    std::size_t passage_at(const PlannedText& planned, std::size_t at, std::size_t p) const {
        for (; p < placed_.size(); ++p) {
            const TokenSpan passage = planned.passages[p];
            if (placed_[p] || at > planned.tokens.size() || passage.size() > planned.tokens.size() - at) continue;
            if (std::ranges::equal(passage, planned.tokens.subspan(at, passage.size()))) break;
        }
        return std::min(p, placed_.size());
    }

    /// Whether the text has these tokens from its i-th on.
    static bool goes_on(const ReadText& text, std::size_t i, TokenSpan tokens) {
        if (tokens.size() > text.size() - i) return false;
        for (std::size_t j = 0; j < tokens.size(); ++j)
            if (text[i + j] != tokens[j]) return false;
        return true;
    }

    /// The text stands at `place` in one piece, if it does.
    bool put(const ReadText& text, TokenSpan planned, std::size_t place) {
        if (place > planned.size() || text.size() > planned.size() - place) return false;
        for (std::size_t i = 0; i < text.size(); ++i)
            if (planned[place + i] != text[i]) return false;
        for (std::size_t i = 0; i < text.size(); ++i) places_[text.index(i)] = place + i;
        return true;
    }

    std::vector<std::size_t> places_;
    std::vector<bool> placed_;  // which passages were read
    std::size_t left_ = 0;      // how many were not
    std::size_t choices_ = 0;
    bool in_one_piece_ = false;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

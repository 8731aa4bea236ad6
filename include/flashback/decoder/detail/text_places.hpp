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

    /// Finds the text in what was planned. A layout puts down tokens, and does not say which are text. Most put the text in one piece
    /// behind the head, or at the end. Else it is in pieces around passages, and grows at its end: what stood where it stands now
    /// stays, and the rest is one piece, behind that or at the end. What is found in none of these ways is nowhere.
    void find(const ReadText& text, TokenSpan planned, std::size_t head) {
        const std::size_t before = std::min(places_.size(), text.context.size());
        places_.resize(text.context.size(), StepAttention::nowhere);
        const std::size_t size = text.size();
        for (std::size_t i = 0; i < text.dropped; ++i) places_[text.sinks + i] = StepAttention::nowhere;
        if (put(text, 0, planned, head)) return;
        if (planned.size() >= size && put(text, 0, planned, planned.size() - size)) return;
        std::size_t stays = 0;  // as long as places grow, and hold what they held
        std::size_t next = 0;
        for (; stays < size && text.index(stays) < before; ++stays) {
            const std::size_t place = places_[text.index(stays)];
            if (place < next || place >= planned.size() || planned[place] != text[stays]) break;
            next = place + 1;
        }
        if (put(text, stays, planned, next)) return;
        const std::size_t rest = size - stays;
        if (planned.size() >= next + rest && put(text, stays, planned, planned.size() - rest)) return;
        for (std::size_t i = stays; i < size; ++i) places_[text.index(i)] = StepAttention::nowhere;
    }

private:
    /// The text from its i-th token on stands at `place`, if it does.
    bool put(const ReadText& text, std::size_t i, TokenSpan planned, std::size_t place) {
        const std::size_t rest = text.size() - i;
        if (place > planned.size() || rest > planned.size() - place) return false;
        for (std::size_t j = 0; j < rest; ++j)
            if (planned[place + j] != text[i + j]) return false;
        for (std::size_t j = 0; j < rest; ++j) places_[text.index(i + j)] = place + j;
        return true;
    }

    std::vector<std::size_t> places_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

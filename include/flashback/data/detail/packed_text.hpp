/// \file Texts in one row.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/example.hpp"
#include "flashback/data/packed_text.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE PackedText::PackedText(std::size_t length, std::optional<TokenId> begin, TokenId end)
    : length_(length), begin_(begin), end_(end) {
    FLASHBACK_ASSERT(length >= 2, "sequences of ", length, " tokens, expected at least 2");
}

FLASHBACK_DETAIL_ONCE void PackedText::add(TokenSpan document) {
    if (begin_ && tokens_.size() % length_ != 0) tokens_.push_back(*begin_);
    for (const TokenId token : document) push(token);
    push(end_);
    ++documents_;
}

FLASHBACK_DETAIL_ONCE TrainingExample PackedText::sequence(std::size_t number) const {
    FLASHBACK_ASSERT(number < sequences(), "sequence ", number, " of a text of ", sequences(), " sequences");
    const TokenSpan tokens = TokenSpan{tokens_}.subspan(number * length_, length_);
    TrainingExample example;
    example.tokens.assign(tokens.begin(), tokens.end());
    for (std::size_t i = 1; i < length_; ++i) {
        if (tokens[i] != begin_) example.targets.push_back(static_cast<std::uint32_t>(i));
    }
    return example;
}

FLASHBACK_DETAIL_ONCE std::uint64_t PackedText::fingerprint() const noexcept {
    return Fingerprint::of(length_, static_cast<std::uint64_t>(begin_.value_or(-1)), std::as_bytes(std::span{tokens_}));
}

FLASHBACK_DETAIL_ONCE void PackedText::push(TokenId token) {
    if (begin_ && tokens_.size() % length_ == 0) tokens_.push_back(*begin_);
    tokens_.push_back(token);
}

}  // namespace flashback::inline FLASHBACK_ISA

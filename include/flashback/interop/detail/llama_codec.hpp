/// \file The tokenizer of llama.cpp as a Codec.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/interop/llama_cpp.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline std::vector<TokenId> llama_encode(const llama_vocab* vocab, std::string_view text) {
    constexpr std::size_t room = 8;
    if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) - room)
        FLASHBACK_THROW(ErrorCode::vocabulary, "a text has ", text.size(), " bytes, expected less than 2 GB");
    std::vector<TokenId> tokens(text.size() + room);
    for (;;) {
        const std::int32_t count = llama_tokenize(vocab, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                                                  static_cast<std::int32_t>(tokens.size()), false, false);
        if (count >= 0) {
            tokens.resize(static_cast<std::size_t>(count));
            return tokens;
        }
        // A negative number says how many there are. If that was known before, or none can be, it failed.
        if (count == std::numeric_limits<std::int32_t>::min() || static_cast<std::size_t>(-count) <= tokens.size())
            FLASHBACK_THROW(ErrorCode::vocabulary, "llama_tokenize gave ", count, " for a text of ", text.size(), " bytes");
        tokens.resize(static_cast<std::size_t>(-count));
    }
}

inline std::string llama_decode_text(const llama_vocab* vocab, TokenSpan tokens) {
    std::string text;
    std::string piece(64, '\0');
    for (const TokenId token : tokens) {
        FLASHBACK_ASSERT(token >= 0 && token < llama_vocab_n_tokens(vocab), "the token ", token,
                         " is not in the vocabulary of ", llama_vocab_n_tokens(vocab));
        const auto read = [&] {
            return llama_token_to_piece(vocab, token, piece.data(), static_cast<std::int32_t>(piece.size()), 0, false);
        };
        std::int32_t size = read();
        if (size < 0) {
            piece.resize(static_cast<std::size_t>(-size));
            size = read();
        }
        FLASHBACK_ASSERT(size >= 0, "llama_token_to_piece gave ", size, " for the token ", token);
        text.append(piece, 0, static_cast<std::size_t>(size));
    }
    return text;
}

}  // namespace detail

inline Codec llama_cpp_codec(const llama_vocab* vocab) {
    FLASHBACK_ASSERT(vocab != nullptr, "a codec needs a llama_vocab, found null");
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE)
        FLASHBACK_THROW(ErrorCode::unsupported,
                        "this llama_vocab has no tokenizer: expected the one of a model with a vocabulary");
    Fingerprint all;
    all.add(static_cast<std::uint64_t>(llama_vocab_type(vocab)));
    const std::int32_t count = llama_vocab_n_tokens(vocab);
    for (TokenId token = 0; token < count; ++token) {
        const char* text = llama_vocab_get_text(vocab, token);
        all.add(std::string_view{text != nullptr ? text : ""});
    }
    // Two tokenizers can have the same pieces and divide texts in other ways. Whoever refuses this text is yet another one.
    constexpr std::string_view probe =
        "The caf\u00e9's 12,345 ROWS:\n\tfoo_bar(x) != 0.5  <s></s>  Stra\u00dfe \u6771\u4eac \U0001f600 don't  re-enter";
    try {
        for (const TokenId token : detail::llama_encode(vocab, probe)) all.add(static_cast<std::uint64_t>(token));
    } catch (const Error&) {
        all.add(std::string_view{"refused"});
    }
    return {.encode = [vocab](std::string_view text) { return detail::llama_encode(vocab, text); },
            .decode = [vocab](TokenSpan tokens) { return detail::llama_decode_text(vocab, tokens); },
            .fingerprint = all.value()};
}

}  // namespace flashback::inline FLASHBACK_ISA

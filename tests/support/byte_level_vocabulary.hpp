/// \file Small vocabularies of byte-level BPE, built by hand.
#pragma once

#include "flashback/core/vocabulary.hpp"
#include "flashback/text/detail/byte_level_bpe.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace flashback_test {

/// How a vocabulary spells bytes.
inline std::string spelled(std::string_view bytes) {
    std::string out;
    for (const char c : bytes) flashback::append_utf8(out, flashback::detail::byte_characters[static_cast<unsigned char>(c)]);
    return out;
}

inline void add(flashback::Vocabulary& v, std::string piece, flashback::TokenKind kind = flashback::TokenKind::normal) {
    v.pieces.push_back(std::move(piece));
    v.kinds.push_back(kind);
}

/// A token of its own for each of these bytes.
inline flashback::Vocabulary with_bytes(std::string_view bytes, const char* pre = "gpt-2") {
    flashback::Vocabulary v;
    v.model = "gpt2";
    v.pre = pre;
    for (const char c : bytes) add(v, spelled({&c, 1}));
    return v;
}

/// All bytes, id = byte.
inline flashback::Vocabulary with_all_bytes(const char* pre = "gpt-2") {
    std::string bytes;
    for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
    return with_bytes(bytes, pre);
}

/// Adds the merge of two texts, and its token unless it is there.
inline void merge(flashback::Vocabulary& v, std::string_view left, std::string_view right) {
    v.merges.push_back(spelled(left) + ' ' + spelled(right));
    const std::string both = spelled(left) + spelled(right);
    for (const std::string& piece : v.pieces) {
        if (piece == both) return;
    }
    add(v, both);
}

}  // namespace flashback_test

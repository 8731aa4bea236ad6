/// \file What of a vocabulary changes its tokens.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// A hash of everything that `encode` depends on.
inline std::uint64_t fingerprint_of(const Vocabulary& vocabulary) {
    Fingerprint all;
    all.add(vocabulary.model);
    all.add(vocabulary.pre);
    const std::uint64_t whole_words = vocabulary.whole_words ? 1 + std::uint64_t{*vocabulary.whole_words} : 0;
    const std::uint64_t unknown = vocabulary.unknown ? 1 + static_cast<std::uint64_t>(*vocabulary.unknown) : 0;
    for (const std::uint64_t part : {std::uint64_t{vocabulary.pieces.size()}, std::uint64_t{vocabulary.merges.size()},
                                     whole_words, unknown, std::uint64_t{vocabulary.add_space_prefix},
                                     std::uint64_t{vocabulary.fuse_unknown}, std::uint64_t{vocabulary.normal_form_c}})
        all.add(part);
    for (const std::string& piece : vocabulary.pieces) all.add(std::string_view{piece});
    for (const std::string& merge : vocabulary.merges) all.add(std::string_view{merge});
    all.add(std::as_bytes(std::span{vocabulary.scores}));
    all.add(std::as_bytes(std::span{vocabulary.kinds}));
    return all.value();
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE Codec codec_of(const Tokenizer& tokenizer) {
    const TokenSpan head = tokenizer.passage_head();
    return {.encode = [tokenizer](std::string_view text) { return tokenizer.encode(text); },
            .decode = [tokenizer](TokenSpan tokens) { return tokenizer.decode(tokens); },
            .fingerprint = detail::fingerprint_of(tokenizer.vocabulary()),
            .head = {head.begin(), head.end()}};
}

}  // namespace flashback::inline FLASHBACK_ISA

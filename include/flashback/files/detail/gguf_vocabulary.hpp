/// \file The vocabulary of a GGUF file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/files/detail/vocabulary_keys.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/text/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE Vocabulary read_vocabulary(const GgufFile& file) {
    const auto pieces = file.strings("tokenizer.ggml.tokens");
    if (!pieces)
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' has no vocabulary (the key tokenizer.ggml.tokens)");
    Vocabulary v;
    v.model = file.text("tokenizer.ggml.model").value_or("");
    v.pieces.assign(pieces->begin(), pieces->end());
    v.scores = file.numbers<float>("tokenizer.ggml.scores").value_or(std::vector<float>(v.size()));
    v.pre = file.text("tokenizer.ggml.pre").value_or("");
    if (const auto merges = file.strings("tokenizer.ggml.merges")) {
        v.merges.assign(merges->begin(), merges->end());
    } else if (v.model == "gpt2") {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(),
                        "' has a vocabulary of byte-level BPE without merges (the key tokenizer.ggml.merges)");
    }
    const auto kinds = file.numbers<std::int32_t>("tokenizer.ggml.token_type");
    v.kinds.assign(v.size(), TokenKind::normal);
    if (kinds) {
        if (kinds->size() != v.size()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' has ", v.size(), " tokens, but ", kinds->size(),
                            " token types");
        }
        for (std::size_t i = 0; i < v.size(); ++i) {
            const std::int32_t kind = (*kinds)[i];
            if (kind < 1 || kind > 6)
                FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "': token ", i, " has type ", kind,
                                ", expected 1 to 6");
            v.kinds[i] = static_cast<TokenKind>(kind);
        }
    }
    const auto special = [&](const char* key) -> std::optional<TokenId> {
        const auto id = file.integer(key);
        if (!id) return {};
        if (*id >= v.size()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "': ", key, " is ", *id, ", but there are ", v.size(),
                            " tokens");
        }
        return static_cast<TokenId>(*id);
    };
    v.bos = special("tokenizer.ggml.bos_token_id");
    v.eos = special("tokenizer.ggml.eos_token_id");
    v.unknown = special("tokenizer.ggml.unknown_token_id");
    // Files of SentencePiece and Llama 3 mention it only if they go without.
    const bool sentencepiece = v.model == "llama";
    const bool llama3 = v.model == "gpt2" && splits_as_llama3(v.pre);
    v.add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or((sentencepiece || llama3) && v.bos.has_value());
    if (v.add_bos && !v.bos) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' wants BOS in front of every text, but names no BOS token");
    }
    v.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(sentencepiece);
    if (file.boolean(detail::key_by_rank).value_or(false)) v.scores.clear();  // llama.cpp needs the scores even so
    v.fuse_unknown = file.boolean(detail::key_fuse_unknown).value_or(false);
    v.normal_form_c = file.boolean(detail::key_normal_form_c).value_or(false);
    v.whole_words = file.boolean(detail::key_whole_words);
    return v;
}

}  // namespace flashback::inline FLASHBACK_ISA

/// \file A vocabulary as keys of a GGUF file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/files/detail/vocabulary_keys.hpp"
#include "flashback/format/gguf_writer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Scores that follow the order of merges: the score of a piece is minus the rank of the first merge that makes it. llama.cpp
/// merges by scores, and so it merges any two neighbours that together are a piece.
inline std::vector<float> scores_of_merges(const Vocabulary& v) {
    std::unordered_map<std::string, std::size_t> ranks;
    for (std::size_t i = 0; i < v.merges.size(); ++i) {
        std::string both = v.merges[i];
        if (const std::size_t space = both.find(' '); space != both.npos) both.erase(space, 1);
        ranks.emplace(std::move(both), i);
    }
    std::vector<float> scores;
    for (const std::string& piece : v.pieces) {
        const auto rank = ranks.find(piece);
        scores.push_back(rank == ranks.end() ? -1e6f : -static_cast<float>(rank->second + 1));
    }
    return scores;
}

/// `rows` is the number of rows of the embedding; unused tokens are added until there are as many.
/// Throws    Error{vocabulary} for more tokens than rows
inline void write_vocabulary(const Vocabulary& v, std::size_t rows, GgufWriter& writer) {
    if (v.size() > rows) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "a vocabulary of ", v.size(), " tokens cannot be written with an embedding of ",
                        rows, " rows");
    }
    std::vector<std::string> pieces = v.pieces;
    std::vector<std::int32_t> kinds;
    for (const TokenKind kind : v.kinds) kinds.push_back(static_cast<std::int32_t>(kind));
    for (std::size_t i = v.size(); i < rows; ++i) {
        pieces.push_back("[PAD" + std::to_string(i) + ']');
        kinds.push_back(static_cast<std::int32_t>(TokenKind::unused));
    }
    writer.set("tokenizer.ggml.model", v.model).set_list("tokenizer.ggml.tokens", std::span<const std::string>{pieces});
    writer.set_list("tokenizer.ggml.token_type", std::span<const std::int32_t>{kinds});
    if (v.model == "llama") {
        std::vector<float> scores = v.scores.empty() ? scores_of_merges(v) : v.scores;
        scores.resize(rows, -1e6f);
        writer.set_list("tokenizer.ggml.scores", std::span<const float>{scores});
        if (v.scores.empty()) writer.set(key_by_rank, true);
        if (v.fuse_unknown) writer.set(key_fuse_unknown, true);
    } else {
        writer.set("tokenizer.ggml.pre", v.pre);
        if (v.normal_form_c) writer.set(key_normal_form_c, true);
        if (v.whole_words) writer.set(key_whole_words, *v.whole_words);
    }
    if (!v.merges.empty()) writer.set_list("tokenizer.ggml.merges", std::span<const std::string>{v.merges});
    const auto id = [&](const char* key, const std::optional<TokenId>& token) {
        if (token) writer.set(key, static_cast<std::uint32_t>(*token));
    };
    id("tokenizer.ggml.bos_token_id", v.bos);
    id("tokenizer.ggml.eos_token_id", v.eos);
    id("tokenizer.ggml.unknown_token_id", v.unknown);
    writer.set("tokenizer.ggml.add_bos_token", v.add_bos);
    writer.set("tokenizer.ggml.add_space_prefix", v.add_space_prefix);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file The calls of an encoder: texts to tokens, tokens to hidden states, hidden states to vectors.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/model/forward.hpp"
#include "flashback/model/text_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The encoder, if texts can be embedded with it; what it leaves open is filled in.
inline Encoder checked_encoder(Encoder encoder, const TextEncoderOptions& options) {
    FLASHBACK_ASSERT(encoder.model != nullptr, "a text encoder needs a model, found null");
    const TransformerConfig& c = encoder.model->config;
    if (encoder.max_tokens == 0) encoder.max_tokens = c.window;
    FLASHBACK_ASSERT(encoder.max_tokens >= 2 && encoder.max_tokens <= c.window, "a text encoder takes texts of up to ",
                     encoder.max_tokens, " tokens, expected 2 to the ", c.window, " positions that the model was trained for");
    FLASHBACK_ASSERT(options.batch_tokens > 0, "a text encoder evaluates at least 1 token at once, found 0");
    const std::size_t tokens = std::visit([](const auto& tokenizer) { return tokenizer.size(); }, encoder.tokenizer);
    FLASHBACK_ASSERT(tokens <= c.vocab, "the tokenizer of a text encoder has ", tokens, " tokens, but the model has only ",
                     c.vocab, " embedding rows");
    return encoder;
}

inline std::uint64_t fingerprint_of(const Encoder& encoder, const TextEncoderOptions& options) {
    Fingerprint all;
    all.add(encoder.model->fingerprint);
    all.add(static_cast<std::uint64_t>(encoder.pooling));
    all.add(std::uint64_t{encoder.normalise});
    all.add(std::uint64_t{encoder.max_tokens});
    all.add(options.query_prefix);
    all.add(options.passage_prefix);
    std::visit(
        [&](const auto& tokenizer) {
            for (const std::string& piece : tokenizer.vocabulary().pieces) all.add(piece);
        },
        encoder.tokenizer);
    return all.value();
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE TextEncoder::TextEncoder(Encoder encoder, TextEncoderOptions options)
    : encoder_(detail::checked_encoder(std::move(encoder), options)),
      options_(std::move(options)),
      work_(encoder_.model->config, std::max(options_.batch_tokens, encoder_.max_tokens)),
      fingerprint_(detail::fingerprint_of(encoder_, options_)) {}

FLASHBACK_DETAIL_ONCE void TextEncoder::tokenise(std::string_view text, Text& to) const {
    to.tokens.clear();
    const std::size_t most = encoder_.max_tokens;
    if (const auto* word_piece = std::get_if<WordPiece>(&encoder_.tokenizer)) {
        to.is_cut = word_piece->encode(text, most, to.tokens);
    } else {
        const auto& tokenizer = std::get<Tokenizer>(encoder_.tokenizer);
        append(to.tokens, tokenizer.head());
        append(to.tokens, tokenizer.encode(text));
        to.is_cut = to.tokens.size() > most;
        if (to.is_cut) to.tokens.resize(most);
    }
    FLASHBACK_ASSERT(!to.tokens.empty(), "text ", to.number, " has no token, and so it has no vector");
    if (to.is_cut && options_.long_text == LongText::refuse) {
        FLASHBACK_THROW(ErrorCode::window, "text ", to.number, " of ", text.size(), " bytes has more than ", most,
                        " tokens, the most that the encoder takes");
    }
}

FLASHBACK_DETAIL_ONCE void TextEncoder::embed(const std::string& prefix, std::span<const std::string_view> texts,
                                              std::span<float> out) {
    FLASHBACK_ASSERT(out.size() == texts.size() * dimension(), texts.size(), " vectors of ", dimension(),
                     " numbers are asked for, but there is room for ", out.size(), " numbers");
    constexpr std::size_t together = 256;      // texts whose tokens are held
    constexpr std::size_t most_in_batch = 64;  // each has tiles of its own
    std::vector<Text> some;
    for (std::size_t begin = 0; begin < texts.size(); begin += together) {
        some.resize(std::min(together, texts.size() - begin));
        options_.executor.run(some.size(), [&](std::size_t i) {
            some[i].number = begin + i;
            const std::string_view text = texts[begin + i];
            if (prefix.empty()) return tokenise(text, some[i]);
            tokenise(prefix + std::string{text}, some[i]);
        });
        // Of the texts that are evaluated together, the first has the longest tiles, in every batch.
        std::ranges::stable_sort(some, [](const Text& a, const Text& b) { return a.tokens.size() > b.tokens.size(); });
        for (std::size_t first = 0; first < some.size();) {
            std::size_t last = first;
            std::size_t rows = 0;
            while (last < some.size() && last - first < most_in_batch && rows + some[last].tokens.size() <= work_.rows)
                rows += some[last++].tokens.size();
            evaluate(std::span{some}.subspan(first, last - first), out);
            first = last;
        }
    }
}

FLASHBACK_DETAIL_ONCE void TextEncoder::evaluate(std::span<const Text> texts, std::span<float> out) {
    const TransformerConfig& c = encoder_.model->config;
    std::vector<TokenId> tokens;
    std::vector<std::size_t> first_rows;
    std::vector<PiecePlace<detail::LayerCache>> places;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t count = texts[i].tokens.size();
        if (i == caches_.size()) caches_.emplace_back(KVShape{1, c.kv_heads, c.head_dim, count});
        if (caches_[i].shape().positions < count) caches_[i] = detail::LayerCache{KVShape{1, c.kv_heads, c.head_dim, count}};
        first_rows.push_back(tokens.size());
        append(tokens, texts[i].tokens);
    }
    for (std::size_t i = 0; i < texts.size(); ++i) places.push_back({&caches_[i], texts[i].tokens.size()});
    forward<detail::LayerCache>({*encoder_.model, work_, options_.executor}, tokens, places);
    options_.executor.run(texts.size(), [&](std::size_t i) {
        pool(texts[i], first_rows[i], out.subspan(texts[i].number * dimension(), dimension()));
    });
    evaluated_ += tokens.size();
    for (const Text& text : texts) cut_ += text.is_cut ? 1 : 0;
}

FLASHBACK_DETAIL_ONCE void TextEncoder::pool(const Text& text, std::size_t first_row, std::span<float> out) {
    const Transformer& model = *encoder_.model;
    const std::size_t rows = encoder_.pooling == Pooling::cls ? 1 : text.tokens.size();
    std::vector<double> sums(out.size());
    for (std::size_t r = first_row; r < first_row + rows; ++r) {
        const float* x = work_.stream.data() + r * work_.stream_stride;
        if (model.config.final_norm) {
            float* const normed = work_.normed.data() + r * work_.stream_stride;
            detail::norm_row(model.config, model.output_norm, model.output_norm_bias, x, normed);
            x = normed;
        }
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<double>(x[i]);
    }
    double squares = 0;
    for (double& sum : sums) {
        sum /= static_cast<double>(rows);
        squares += sum * sum;
    }
    if (!std::isfinite(squares))
        FLASHBACK_THROW(ErrorCode::engine, "the vector of text ", text.number, " is not finite: the model is damaged");
    const double length = encoder_.normalise && squares > 0 ? std::sqrt(squares) : 1.0;
    for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] / length);
}

}  // namespace flashback::inline FLASHBACK_ISA

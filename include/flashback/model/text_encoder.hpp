/// \file Texts to vectors: encoders of BERT's family, and the hidden states of models that write texts.
#pragma once

#include "flashback/core/embedder.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/detail/layer_cache.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/model/workspace.hpp"
#include "flashback/text/tokenizer.hpp"
#include "flashback/text/word_piece.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How the last hidden states of a text become its vector: their mean, or that of the first token.
enum class Pooling : std::uint8_t { mean, cls };

/// What an embedder consists of; load_encoder reads one.
struct Encoder {
    std::shared_ptr<const Transformer> model;      ///< an encoder, or a model that writes texts
    std::variant<WordPiece, Tokenizer> tokenizer;  ///< BERT's, or that of a model that writes texts: its head comes first
    Pooling pooling = Pooling::mean;               ///< how the rows of a text become one
    bool normalise = true;                         ///< whether vectors get the length 1; then their dot product is the cosine
    std::size_t max_tokens = 0;  ///< the most tokens of a text, special ones included; 0: as many as the model was trained for
};

/// What happens to a text that has more tokens than an encoder takes.
enum class LongText : std::uint8_t {
    cut,    ///< its end is left out, and TextEncoder::cut counts it
    refuse  ///< Error{window}
};

/// The settings of a TextEncoder.
struct TextEncoderOptions {
    std::string query_prefix = {};       ///< what stands in front of queries, e.g. "query: "
    std::string passage_prefix = {};     ///< what stands in front of passages, e.g. "passage: "
    LongText long_text = LongText::cut;  ///< what happens to a text that is too long
    std::size_t batch_tokens = 512;      ///< tokens evaluated at once: limits the scratch memory, changes no bit of the vectors
    ExecutorRef executor = {};           ///< must outlive the encoder
};

/// An Embedder: a transformer evaluates each text as a whole, and its last hidden states become one vector. Texts are evaluated
/// side by side, without padding. The vector of a text is a function of the text alone, to the bit: it does not matter which other
/// texts there are, in which order, or how many threads work.
///
/// It belongs to one thread at a time; the weights are shared.
/// Requires  an encoder that was moved from is only assigned to or destroyed
/// Source    Devlin et al. 2019, BERT; Karpukhin et al. 2020, DPR (the first token); Reimers and Gurevych 2019, Sentence-BERT (the
///           mean)
class TextEncoder {
public:
    /// Throws    Error{contract} for no model, max_tokens beyond the model's window or below 2, no tokens at once, or a tokenizer
    ///           with more tokens than the model has rows; std::bad_alloc
    explicit TextEncoder(Encoder encoder, TextEncoderOptions options = {});

    /// What it consists of.
    const Encoder& encoder() const noexcept { return encoder_; }
    /// Floats of a vector: the width of the model.
    std::size_t dimension() const noexcept { return encoder_.model->config.width; }
    /// The most tokens of a text.
    std::size_t max_tokens() const noexcept { return encoder_.max_tokens; }
    /// The texts whose end was left out, ever.
    std::size_t cut() const noexcept { return cut_; }
    /// The tokens that were evaluated, ever.
    std::size_t work() const noexcept { return evaluated_; }
    /// What vectors depend on besides the text. If it differs, an index of vectors is of no use.
    std::uint64_t fingerprint() const noexcept { return fingerprint_; }

    /// The vectors of passages.
    /// Shape     out (texts.size(), dimension())
    /// Throws    Error{contract} for another size of `out`, or a text without a token; Error{window} for a text that is too long, if it is to
    ///           be refused; Error{vocabulary} as Tokenizer::encode; Error{engine} for a vector that is not finite; std::bad_alloc.
    ///           Then `out` has no meaning
    void embed(std::span<const std::string_view> texts, std::span<float> out) { embed(options_.passage_prefix, texts, out); }

    /// The vectors of queries; as `embed`.
    void embed_queries(std::span<const std::string_view> texts, std::span<float> out) {
        embed(options_.query_prefix, texts, out);
    }

private:
    /// A text of a call: its tokens, whether some were left out, and which text it is.
    struct Text {
        std::vector<TokenId> tokens = {};
        bool is_cut = false;
        std::size_t number = 0;
    };

    void embed(const std::string& prefix, std::span<const std::string_view> texts, std::span<float> out);
    void tokenise(std::string_view text, Text& to) const;
    void evaluate(std::span<const Text> texts, std::span<float> out);
    void pool(const Text& text, std::size_t first_row, std::span<float> out);

    Encoder encoder_;
    TextEncoderOptions options_;
    Workspace work_;
    std::vector<detail::LayerCache> caches_;  ///< of the texts that are evaluated at once
    std::uint64_t fingerprint_ = 0;
    std::size_t cut_ = 0;
    std::size_t evaluated_ = 0;
};

static_assert(QueryEmbedder<TextEncoder>);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/model/detail/text_encoder.hpp"
#endif

/// \file The policies of published methods, ready to use.
#pragma once

#include "flashback/policy/content_words.hpp"
#include "flashback/policy/dragin.hpp"
#include "flashback/policy/entropy_trend.hpp"
#include "flashback/policy/flare.hpp"
#include "flashback/policy/ircot.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/policy/self_rag.hpp"

#include <utility>

namespace flashback::inline FLASHBACK_ISA::presets {

/// Passages aside: every 16 tokens a passage for the newest 32, beside the text, without markers; nothing has to be tuned.
/// Requires  a model that holds blocks (BlockModel), such as Session
/// Source    ours; examples/passages_aside.md
constexpr auto passages_aside() {
    return Policies{}.schedule(EveryNTokens{16}).query(LastNTokens{32}).wrapper(NoMarkers{}).layout(PassagesAside{});
}

/// FlashBack: every 16 tokens a passage for the newest 32, behind the text, between two marking tokens. A passage that is found
/// again stays where it is (`Sticky`). The paper does not do that; for its layout, set `layout(AppendPassages{})`. With
/// `Sticky` the default model with its adapter evaluates 8 to 31 % fewer tokens, and its perplexity is 3 to 7 % lower
/// (`flashback ppl --hold 64|256 --layout sticky`, entries and the translation of examples/paper_table, 1,000 strides).
/// Source    FlashBack (arXiv 2405.04065), sections 3.2 and 3.3
constexpr auto flashback(TokenId left_marker, TokenId right_marker) {
    return Policies{}
        .schedule(EveryNTokens{16})
        .query(LastNTokens{32})
        .wrapper(MarkerTokens{left_marker, right_marker})
        .layout(Sticky{});
}

/// In-Context RALM: every 4 tokens a passage for the newest 32, in front of the text, without markers.
/// Source    Ram et al. 2023, In-Context RALM, section 3
constexpr auto in_context_ralm() {
    return Policies{}.schedule(EveryNTokens{4}).query(LastNTokens{32}).wrapper(NoMarkers{}).layout(PrependPassages{});
}

/// FLARE: for each draft sentence of which the model is not sure, passages for what it is sure of, in front of the text. Set
/// GenerateOptions::passages to 2, or to 5 with {.threshold = 0} for WikiAsp.
/// Source    Jiang et al. 2023, FLARE (arXiv 2305.06983)
template <class Sentences>
auto flare(Sentences ends, FlareOptions options = {}) {
    return Policies{}.layout(PrependPassages{}).method(Flare<Sentences>{std::move(ends), options});
}

/// DRAGIN: for each draft sentence with a word that is unsure and is read, passages for what the model reads there, in front of the text. Set
/// GenerateOptions::passages to 3.
/// Requires  an AttentiveModel
/// Source    Su et al. 2024, DRAGIN (arXiv 2403.10081)
template <class Sentences, class Counts = EveryToken>
auto dragin(Sentences ends, Counts counts = {}, DraginOptions options = {}) {
    return Policies{}.layout(PrependPassages{}).method(Dragin<Sentences, Counts>{std::move(ends), std::move(counts), options});
}

/// ETC: where the entropy of content words turns, passages for what the model reads there, in front of the text. Set
/// GenerateOptions::passages to 3.
/// Requires  an AttentiveModel
/// Source    Li et al. 2025, ETC (arXiv 2511.09980)
template <class Counts = EveryToken>
auto etc(Counts counts = {}, EtcOptions options = {}) {
    return Policies{}.layout(PrependPassages{}).method(Etc<Counts>{std::move(counts), options});
}

/// IRCoT: passages for the prompt, and more for each sentence, in front of the text, until a sentence `answers` or there are 8. Set
/// GenerateOptions::passages to 15, and put an Accumulated around the retriever.
/// Source    Trivedi et al. 2023, IRCoT (arXiv 2212.10509)
template <class Sentences, class Answers = NeverAnswers>
auto ircot(Sentences ends, Answers answers = {}, IrCotOptions options = {}) {
    return Policies{}.layout(PrependPassages{}).method(IrCot<Sentences, Answers>{std::move(ends), std::move(answers), options});
}

/// Self-RAG: at the start of a sentence for which the model gives [Retrieval] more than a fifth of what it gives that and [No Retrieval],
/// passages for the newest 32 tokens, behind the text, where such a model was taught to read them.
/// Requires  a model whose vocabulary has the two tokens
/// Source    Asai et al. 2024, Self-RAG (arXiv 2310.11511)
template <class Sentences>
auto self_rag(Sentences ends, TokenId retrieve, TokenId no_retrieve) {
    return Policies{}
        .layout(AppendPassages{})
        .schedule(ReflectionRatio<Sentences>{std::move(ends), {.retrieve = retrieve, .no_retrieve = no_retrieve}});
}

/// PipeRAG, approximate: every 16 tokens a passage for the 64 that were the newest one interval before, behind the text.
/// Requires  the retriever is `stale(retriever)`; over another one nothing is stale
/// Source    Jiang et al. 2024, PipeRAG (arXiv 2403.05676); there passages are read by cross-attention
constexpr auto pipe_rag() { return Policies{}.schedule(StaleEveryN{16}).query(LastNTokens{64}); }

/// A language model by itself: no retrieval. Any retriever will do, such as NoPassages.
constexpr auto closed_book() { return Policies{}.schedule(Never{}); }

}  // namespace flashback::inline FLASHBACK_ISA::presets

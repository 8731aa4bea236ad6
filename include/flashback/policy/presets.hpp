/// \file The policies of published methods, ready to use.
#pragma once

#include "flashback/policy/policies.hpp"

namespace flashback::inline FLASHBACK_ISA::presets {

/// Passages aside: every 16 tokens a passage for the newest 32, beside the text, without markers; nothing has to be tuned.
/// Requires  a model that holds blocks (BlockModel), such as Session
/// Source    ours; examples/passages_aside.md
constexpr auto passages_aside() {
    return Policies{}.schedule(EveryNTokens{16}).query(LastNTokens{32}).wrapper(NoMarkers{}).layout(PassagesAside{});
}

/// FlashBack: every 16 tokens a passage for the newest 32, behind the text, between two marking tokens. A passage that is found
/// again stays where it is (`Sticky`). The paper does not do that; for its layout, set `layout(AppendPassages{})`. With
/// `Sticky` the default model with its adapter evaluates 8 to 15 % fewer tokens, and its perplexity is 4 to 5 % lower
/// (`flashback ppl --hold 64|256 --layout sticky`).
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

/// PipeRAG, approximate: every 16 tokens a passage for the 64 that were the newest one interval before, behind the text.
/// Requires  the retriever is `stale(retriever)`; over another one nothing is stale
/// Source    Jiang et al. 2024, PipeRAG (arXiv 2403.05676); there passages are read by cross-attention
constexpr auto pipe_rag() { return Policies{}.schedule(StaleEveryN{16}).query(LastNTokens{64}); }

/// A language model by itself: no retrieval. Any retriever will do, such as NoPassages.
constexpr auto closed_book() { return Policies{}.schedule(Never{}); }

}  // namespace flashback::inline FLASHBACK_ISA::presets

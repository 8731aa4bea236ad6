/// \file Where passages stand.
#pragma once

#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// What a model reads, before it is put in order. Each part may be empty.
struct LayoutParts {
    TokenSpan head;       ///< BOS, system text
    TokenSpan documents;  ///< the passages, wrapped
    TokenSpan context;    ///< the prompt and what was generated
};

/// Puts the parts in order: `layout(parts, out)` appends to `out`.
template <class L>
concept ContextLayout = requires(const L& layout, const LayoutParts& parts, TokenBuffer& out) {
    layout(parts, out);
};

namespace detail {

/// Refuses, in words, what is no ContextLayout.
template <class L>
constexpr bool checked_layout() {
    static_assert(ContextLayout<L>,
                  "flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out)");
    return true;
}

}  // namespace detail

/// head, documents, context: a new passage moves the whole context, and nothing but the head is reused.
/// Source    Ram et al. 2023, In-Context RALM, equation 2
struct PrependDocuments {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        append(out, parts.documents);
        append(out, parts.context);
    }
};

/// head, context, documents: a new passage leaves the context where it is, and all of it that was evaluated is reused.
/// Source    FlashBack (arXiv 2405.04065), section 3.2, appending context pattern
struct AppendDocuments {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        append(out, parts.context);
        append(out, parts.documents);
    }
};

/// head, context, documents, and the newest tokens of the context once more, so that a model that was never tuned to look past a
/// passage has in front of it what it goes on with. Without documents nothing is repeated.
/// Cost      at each retrieval, `tokens` more to evaluate than AppendDocuments
/// Source    ours; that a causal model reads a text better the second time is the finding of Springer et al. 2024, Repetition
///           improves language model embeddings
struct AppendAndRepeat {
    std::size_t tokens = 16;  ///< how many are repeated; of a shorter context all

    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        AppendDocuments{}(parts, out);
        if (!parts.documents.empty()) append(out, parts.context.last(std::min(tokens, parts.context.size())));
    }
};

}  // namespace flashback::inline FLASHBACK_ISA

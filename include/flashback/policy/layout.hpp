/// \file Where passages stand.
#pragma once

#include "flashback/core/tokens.hpp"

#include <concepts>

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

}  // namespace flashback::inline FLASHBACK_ISA

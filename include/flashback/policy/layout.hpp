/// \file Where passages stand.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// What a model reads, before it is put in order. Each part may be empty.
struct LayoutParts {
    TokenSpan head;                       ///< BOS, system text
    std::span<const TokenSpan> passages;  ///< each as the wrapper wrote it, the best first
    TokenSpan context;                    ///< the prompt and what was generated, less what was dropped from its front
    TokenSpan held = {};                  ///< what the model holds now: a beginning that agrees with it costs nothing
    TokenSpan standing = {};  ///< what was laid out last for this text, and the text since: where passages stand now
};

/// How passages stand beside a text.
struct AsideOptions {
    std::size_t seeing = 1;  ///< how many of the newest tokens of the text see them; 0: passages do not stand beside the text
    bool exact = true;    ///< tokens that saw other passages are evaluated again, as plain text; else they keep what they saw
    bool joined = false;  ///< all passages are one block, one after the other; else each is a block of its own

    constexpr bool operator==(const AsideOptions&) const = default;
};

/// Puts the parts in order: `layout(parts, out)` appends to `out`. Callable when const. A layout that looks at `held` may give
/// another text in a session that has a past; one that looks only at `standing` gives the same.
///
/// An optional const `beside()` gives AsideOptions: passages stand beside the text, in blocks (BlockModel). Such a layout puts none
/// of them into `out`, and `out` ends with the context. The other optional members are those of a RetrievalSchedule.
template <class L>
concept ContextLayout = requires(const L& layout, const LayoutParts& parts, TokenBuffer& out) {
    { layout(parts, out) } -> detail::GivesNoTokens;
    requires !detail::WritesToACopy<L, LayoutParts>;
};

namespace detail {

template <class L>
concept StandsBeside = requires(const L& layout) {
    { layout.beside() } -> std::convertible_to<AsideOptions>;
};

template <class L>
concept FittingLayout = ContextLayout<L> &&(!members::NamesBeside<L> || StandsBeside<L>)&&FitsOptionally<L>;

/// Refuses, in words, what is no ContextLayout.
template <class L>
constexpr bool checked_layout() {
    static_assert(
        ContextLayout<L>,
        "flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out), and "
        "return nothing");
    static_assert(!members::NamesBeside<L> || StandsBeside<L>,
                  "flashback: beside() of a ContextLayout must be const and return AsideOptions: how passages stand beside the "
                  "text");
    if constexpr (ContextLayout<L>) checked_optional_members<L>();
    return true;
}

}  // namespace detail

/// How a layout puts passages beside the text; seen by 0 tokens if it puts them into it.
template <class L>
constexpr AsideOptions beside_of(const L& layout) {
    if constexpr (detail::StandsBeside<L>) {
        return layout.beside();
    } else {
        return {.seeing = 0};
    }
}

/// head, passages, context: a new passage moves the whole context, and nothing but the head is reused.
/// Source    Ram et al. 2023, In-Context RALM, equation 2
struct PrependPassages {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        append(out, parts.passages);
        append(out, parts.context);
    }
};

/// head, context, passages: a new passage leaves the context where it is, and all of it that was evaluated is reused.
/// Source    FlashBack (arXiv 2405.04065), section 3.2, appending context pattern
struct AppendPassages {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        append(out, parts.context);
        append(out, parts.passages);
    }
};

/// head, context, passages, and the newest tokens of the context once more. So a model that was never tuned to look past a
/// passage goes on from text that it has just read. Without passages nothing is repeated.
/// Cost      at each retrieval, `tokens` more to evaluate than AppendPassages
/// Source    ours; that a causal model reads a text better the second time is the finding of Springer et al. 2024, Repetition
///           improves language model embeddings
struct AppendAndRepeat {
    std::size_t tokens = 16;  ///< how many are repeated; if the context is shorter, all

    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        AppendPassages{}(parts, out);
        if (!parts.passages.empty()) append(out, parts.context.last(std::min(tokens, parts.context.size())));
    }
};

/// As AppendPassages, but a passage that is found again stays where it stands in the text. So finding the same passages again
/// costs one token, instead of the passages and all that was generated since. New passages are put at the end. A passage that
/// is not found again is removed; what stood after it must be read anew anyway, so passages from there are put at the end, too.
/// Cost      at most that of AppendPassages, and a comparison of what stands with the parts
/// Source    ours
struct Sticky {
    /// This many passages of an answer can stay in place; later ones are always put at the end.
    static constexpr std::size_t most_standing = 64;

    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        std::uint64_t placed = 0;  // a bit for each passage
        std::size_t read = 0;      // of the context
        if (starts_with(parts.standing, parts.head)) {
            // Reads what stands as the text with passages in between, until it is something else.
            TokenSpan rest = parts.standing.subspan(parts.head.size());
            while (!rest.empty()) {
                const std::size_t i = next_passage(parts, rest, parts.context.subspan(read), placed);
                if (i < parts.passages.size()) {
                    placed |= std::uint64_t{1} << i;
                    append(out, parts.passages[i]);
                    rest = rest.subspan(parts.passages[i].size());
                } else if (read < parts.context.size() && parts.context[read] == rest[0]) {
                    out.push_back(parts.context[read++]);
                    rest = rest.subspan(1);
                } else {
                    break;
                }
            }
        }
        append(out, parts.context.subspan(read));
        for (std::size_t i = 0; i < parts.passages.size(); ++i) {
            if (i >= most_standing || (placed >> i & 1) == 0) append(out, parts.passages[i]);
        }
    }

private:
    static constexpr bool starts_with(TokenSpan tokens, TokenSpan front) {
        return tokens.size() >= front.size() && std::ranges::equal(tokens.first(front.size()), front);
    }

    /// Which of the passages that are not yet placed `rest` begins with; if none, how many passages there are. Tokens that are
    /// also the next ones of the text count as text: either way the model reads the same.
    static constexpr std::size_t next_passage(const LayoutParts& parts, TokenSpan rest, TokenSpan context,
                                              std::uint64_t placed) {
        for (std::size_t i = 0; i < std::min(parts.passages.size(), most_standing); ++i) {
            const TokenSpan passage = parts.passages[i];
            if ((placed >> i & 1) == 0 && !passage.empty() && starts_with(rest, passage) && !starts_with(context, passage))
                return i;
        }
        return parts.passages.size();
    }
};

/// head, context; each passage stands beside them, in a block of its own that sees the head and itself, at the positions right
/// after the head. The text never sees a passage: only its newest tokens do, and what is generated after them. So the keys and
/// values of the text are those of plain text and stay valid, and those of a passage are evaluated once, whoever sees it. If the
/// text is empty, nobody sees them.
///
/// If it is not `exact`, what was generated keeps what it saw. Then a text depends on all passages that it was generated with, and
/// no longer only on what a plan says.
/// Cost      at a retrieval, the newest token; if it is exact, the tokens since the last retrieval once more, as plain text; and
///           the passages that were never evaluated
/// Source    ours; blocks that see only themselves, for the prompt: Ratner et al. 2023, Parallel context windows; Merth et al. 2024,
///           Superposition prompting; Lu et al. 2024, TurboRAG
class PassagesAside {
public:
    /// Throws    Error{contract} if no token sees them
    explicit constexpr PassagesAside(AsideOptions options = {}) : options_(options) {
        FLASHBACK_ASSERT(options.seeing > 0, "passages beside the text need at least 1 token that sees them, found 0");
    }

    constexpr AsideOptions beside() const noexcept { return options_; }
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        append(out, parts.head);
        append(out, parts.context);
    }

private:
    AsideOptions options_;
};

}  // namespace flashback::inline FLASHBACK_ISA

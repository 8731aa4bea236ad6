/// \file What a schedule can say.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// What is to be done before the next token. A bool is a Decision: true retrieves, false goes on.
class Decision {
public:
    /// true: retrieve; false: go on. Nothing but a bool: a number would be taken for true.
    template <std::same_as<bool> Bool>
    constexpr Decision(Bool retrieve) noexcept : kind_(retrieve ? Kind::retrieve : Kind::go_on) {}

    /// The next token, without a retrieval.
    static constexpr Decision go_on() noexcept { return Decision{Kind::go_on, 0}; }
    /// The next token. A retrieval comes soon, so the search for what would be asked now may begin. This is a hint: a retriever
    /// without `prefetch` does nothing.
    static constexpr Decision prefetch() noexcept { return Decision{Kind::prefetch, 0}; }
    /// The next token without the passages that stand; before it the newest `rewind` generated tokens are taken back.
    static constexpr Decision drop_passages(std::size_t rewind = 0) noexcept { return Decision{Kind::drop_passages, rewind}; }
    /// A retrieval; before it the newest `rewind` generated tokens are taken back, to be generated anew with what was found.
    static constexpr Decision retrieve(std::size_t rewind = 0) noexcept { return Decision{Kind::retrieve, rewind}; }
    /// The end of the generation.
    static constexpr Decision stop() noexcept { return Decision{Kind::stop, 0}; }

    /// Whether it announces a search.
    constexpr bool prefetches() const noexcept { return kind_ == Kind::prefetch; }
    /// Whether it goes on without the passages that stand.
    constexpr bool drops_passages() const noexcept { return kind_ == Kind::drop_passages; }
    /// Whether it retrieves.
    constexpr bool retrieves() const noexcept { return kind_ == Kind::retrieve; }
    /// Whether it ends the text.
    constexpr bool stops() const noexcept { return kind_ == Kind::stop; }
    /// How many generated tokens are taken back; 0 unless it retrieves or drops passages.
    constexpr std::size_t rewind() const noexcept { return rewind_; }

    constexpr bool operator==(const Decision&) const = default;

    /// The stronger of two: stop, then retrieve, drop passages, prefetch, go on. It takes back as many tokens as the one that
    /// takes back more.
    friend constexpr Decision either(Decision a, Decision b) noexcept {
        return Decision{std::max(a.kind_, b.kind_), std::max(a.rewind_, b.rewind_)}.normalised();
    }
    /// The weaker of two, in the same order. It takes back as many tokens as the one that takes back more.
    friend constexpr Decision both(Decision a, Decision b) noexcept {
        return Decision{std::min(a.kind_, b.kind_), std::max(a.rewind_, b.rewind_)}.normalised();
    }

private:
    enum class Kind : unsigned char { go_on, prefetch, drop_passages, retrieve, stop };  // the weakest first
    constexpr Decision(Kind kind, std::size_t rewind) noexcept : kind_(kind), rewind_(rewind) {}
    constexpr Decision normalised() const noexcept { return {kind_, retrieves() || drops_passages() ? rewind_ : 0}; }

    Kind kind_;
    std::size_t rewind_ = 0;
};

namespace detail {

/// What a schedule may return: exactly bool, or a Decision.
template <class Result>
concept Decides = std::same_as < std::remove_cvref_t<Result>,
bool > || std::same_as<std::remove_cvref_t<Result>, Decision>;

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA

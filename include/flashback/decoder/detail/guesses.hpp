/// \file What a decoder remembers of its guesses until they are checked.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/generator.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Whether a type is a std::reference_wrapper to what may change, or is made of one: Policies, or a schedule of schedules.
template <class T>
inline constexpr bool refers = false;
template <class T>
inline constexpr bool refers<std::reference_wrapper<T>> = !std::is_const_v<T>;
template <template <class...> class Made, class... Parts>
inline constexpr bool refers<Made<Parts...>> = (refers<Parts> || ...);

/// Whether the answers of a retriever depend on the queries before.
template <class R>
concept RemembersQueries = requires {
    requires R::remembers_queries;
};

/// Puts an object in the place of another one, at its address. What can be copied need not be assignable: most lambdas are not.
template <class T>
void put_in_place(T& place, T&& object) noexcept {
    std::destroy_at(&place);
    std::construct_at(&place, std::move(object));
}

inline std::vector<OwnedPassage> owned(std::span<const Passage> passages) {
    std::vector<OwnedPassage> copies;
    for (const Passage& passage : passages) copies.emplace_back(passage);
    return copies;
}

inline std::vector<Passage> views(const std::vector<OwnedPassage>& passages) {
    std::vector<Passage> all;
    for (const OwnedPassage& passage : passages) all.push_back(passage.view());
    return all;
}

/// Whether a text reads the same with these passages as with those.
inline bool read_the_same(const std::vector<OwnedPassage>& these, std::span<const Passage> those, bool with_scores) {
    return std::ranges::equal(these, those, [&](const OwnedPassage& a, const Passage& b) {
        return a.id == b.id && a.title == b.title && a.text == b.text && std::ranges::equal(a.tokens, b.tokens) &&
               (!with_scores || a.score == b.score);
    });
}

/// A search that was answered with a guess.
template <class PoliciesT>
struct Guess {
    std::unique_ptr<Generator<PoliciesT>> before;  ///< a copy that still needs the search
    std::vector<OwnedPassage> passages;            ///< guessed; once it is known to be right, found
    std::size_t heard = 0;                         ///< how much of the text was heard before
};

/// A token, or a rewind, that nobody was told of yet; and what on_token's text has come to with it.
struct Heard {
    TokenId token = 0;
    std::size_t rewind = 0;  ///< if it is not 0, this is one
    std::optional<double> surprisal = {};
    std::size_t dropped = 0;
    std::size_t shortened = 0;
    std::size_t evaluated = 0;  ///< until then, in all
    bool last = false;          ///< whether the stopping criterion ended the text there: nobody can cancel that

    template <class PoliciesT>
    static Heard newest(const Generator<PoliciesT>& generator) {
        const Generation& text = generator.result();
        Heard heard{.token = text.tokens.back(),
                    .dropped = text.stats.dropped,
                    .shortened = text.stats.shortened,
                    .evaluated = text.stats.counts.evaluated,
                    .last = generator.stopping()};
        if (!text.surprisals.empty()) heard.surprisal = text.surprisals.back();
        return heard;
    }

    /// Adds it to a text that ended in front of it.
    void add_to(Generation& text) const {
        if (rewind > 0) {
            text.tokens.resize(text.tokens.size() - rewind);
            if (!text.surprisals.empty()) text.surprisals.resize(text.tokens.size());
            ++text.stats.rewinds;
            text.stats.rewound += rewind;
        } else {
            if (surprisal) text.surprisals.push_back(*surprisal);
            text.tokens.push_back(token);
            text.stats.dropped = dropped;
            text.stats.shortened = shortened;
        }
    }
};

/// What a search for guesses came to.
struct Checked {
    std::size_t right = 0;                 ///< so many guesses, up to the first wrong one
    bool searched = false;                 ///< whether there is an answer for the text to go on with
    std::vector<OwnedPassage> found = {};  ///< that answer: in place of the wrong guess, or for the text as it stands
    double began = 0;                      ///< when the search began, by the clock of the options
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file Normal form C.
#pragma once

#include "flashback/text/detail/normalisation_tables.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The syllables of Korean are composed by arithmetic.
/// Source    The Unicode Standard 15.0, section 3.12
struct Hangul {
    static constexpr char32_t syllables = 0xac00, leads = 0x1100, vowels = 0x1161, trails = 0x11a7;
    static constexpr char32_t vowel_count = 21, trail_count = 28, count = 19 * vowel_count * trail_count;
};

/// A character and its canonical combining class.
struct Combining {
    char32_t value;
    char32_t combining;
};

inline char32_t combining_class(char32_t c) noexcept {
    const auto* it = std::ranges::lower_bound(combining_ranges, c, {}, &CombiningRange::last);
    return it != std::end(combining_ranges) && it->first <= c ? it->combining : 0;
}

/// Adds the full canonical decomposition of a character.
inline void decompose(char32_t c, std::vector<Combining>& out) {
    if (c >= Hangul::syllables && c < Hangul::syllables + Hangul::count) {
        const char32_t s = c - Hangul::syllables;
        out.push_back({Hangul::leads + s / (Hangul::vowel_count * Hangul::trail_count), 0});
        out.push_back({Hangul::vowels + s / Hangul::trail_count % Hangul::vowel_count, 0});
        if (s % Hangul::trail_count != 0) out.push_back({Hangul::trails + s % Hangul::trail_count, 0});
        return;
    }
    const auto* it = std::ranges::lower_bound(decompositions, c, {}, &Decomposition::character);
    if (it == std::end(decompositions) || it->character != c) {
        out.push_back({c, combining_class(c)});
        return;
    }
    decompose(it->first, out);
    if (it->second != 0) decompose(it->second, out);
}

/// The character that two characters become; 0 if there is none.
inline char32_t composed(char32_t a, char32_t b) noexcept {
    if (a >= Hangul::leads && a < Hangul::leads + 19 && b >= Hangul::vowels && b < Hangul::vowels + Hangul::vowel_count)
        return Hangul::syllables + ((a - Hangul::leads) * Hangul::vowel_count + (b - Hangul::vowels)) * Hangul::trail_count;
    const bool lead_and_vowel =
        a >= Hangul::syllables && a < Hangul::syllables + Hangul::count && (a - Hangul::syllables) % Hangul::trail_count == 0;
    if (lead_and_vowel && b > Hangul::trails && b < Hangul::trails + Hangul::trail_count) return a + (b - Hangul::trails);
    const auto key = [](const Composition& c) { return std::tuple{c.first, c.second}; };
    const auto* it = std::ranges::lower_bound(compositions, std::tuple{a, b}, {}, key);
    return it != std::end(compositions) && it->first == a && it->second == b ? it->character : 0;
}

/// Puts marks in order, composes, and writes the characters.
inline void compose(std::vector<Combining>& characters, std::string& out) {
    for (std::size_t i = 0; i < characters.size(); ++i) {
        if (characters[i].combining == 0) continue;
        std::size_t end = i;
        while (end < characters.size() && characters[end].combining != 0) ++end;
        const auto at = [&](std::size_t k) { return characters.begin() + static_cast<std::ptrdiff_t>(k); };
        std::stable_sort(at(i), at(end), [](const Combining& a, const Combining& b) { return a.combining < b.combining; });
        i = end - 1;
    }
    std::size_t kept = 0;
    constexpr auto none = static_cast<std::size_t>(-1);
    std::size_t starter = none;
    for (const Combining c : characters) {
        // Between a starter and a mark that joins it stand only marks of lower classes.
        const bool blocked = starter == none || (starter + 1 < kept && characters[kept - 1].combining >= c.combining);
        const char32_t both = blocked ? 0 : composed(characters[starter].value, c.value);
        if (both != 0) {
            characters[starter].value = both;
            continue;
        }
        if (c.combining == 0) starter = kept;
        characters[kept++] = c;
    }
    for (std::size_t i = 0; i < kept; ++i) append_utf8(out, characters[i].value);
    characters.clear();
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE std::string normal_form_c(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    std::vector<detail::Combining> pending;  // since the last place before which all is settled
    while (!text.empty()) {
        const CodePoint c = first_code_point(text);
        if (!c.valid) {
            detail::compose(pending, out);
            out += text.substr(0, c.bytes);
        } else {
            if (c.value < 0x300) detail::compose(pending, out);  // it joins nothing before it
            if (c.value < 0xc0) {
                pending.push_back({c.value, 0});
            } else {
                detail::decompose(c.value, pending);
            }
        }
        text.remove_prefix(c.bytes);
    }
    detail::compose(pending, out);
    return out;
}

}  // namespace flashback::inline FLASHBACK_ISA

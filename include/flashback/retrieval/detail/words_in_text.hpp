/// \file Where words begin and end in a text, and what is written of them.
#pragma once

#include "flashback/retrieval/detail/script_tables.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What a character does to a word.
enum class CharacterKind : std::uint8_t {
    other,       // ends it
    letter,      // of a script with spaces
    number,      // as a letter
    dense,       // a letter of a script without spaces
    mark,        // belongs to the character before it
    invisible,   // is left out
    low_line,    // joins words, but only if JoinedWords asks for it, as do the next three
    mid_letter,  // between two letters
    mid_number,  // between two numbers
    mid_both     // between two letters or two numbers
};

template <std::size_t N>
constexpr bool lies_in(const CodePointRange (&ranges)[N], char32_t c) noexcept {
    const auto* it = std::ranges::lower_bound(ranges, c, {}, &CodePointRange::last);
    return it != std::end(ranges) && it->first <= c;
}

/// Source    Unicode Standard Annex 29, Unicode 15.0: Word_Break = MidLetter, MidNum, MidNumLet, Single_Quote, ExtendNumLet
constexpr CharacterKind punctuation_kind(char32_t c) noexcept {
    switch (c) {
        case '_':
        case 0x202f:
        case 0x203f:
        case 0x2040:
        case 0x2054:
        case 0xff3f: return CharacterKind::low_line;
        case ':':
        case 0xb7:
        case 0x387:
        case 0x55f:
        case 0x5f4:
        case 0x2027:
        case 0xfe13:
        case 0xfe55:
        case 0xff1a: return CharacterKind::mid_letter;
        case ',':
        case ';':
        case 0x37e:
        case 0x589:
        case 0x60c:
        case 0x60d:
        case 0x66c:
        case 0x7f8:
        case 0x2044:
        case 0xfe10:
        case 0xfe14:
        case 0xff0c:
        case 0xff1b: return CharacterKind::mid_number;
        case '.':
        case '\'':
        case 0x2018:
        case 0x2019:
        case 0x2024:
        case 0xfe52:
        case 0xff07:
        case 0xff0e: return CharacterKind::mid_both;
        default: return CharacterKind::other;
    }
}

/// Cost      a few comparisons for the letters of most languages, else two or three binary searches
constexpr CharacterKind kind_of(char32_t c) noexcept {
    if (c >= 0xc0 && c < 0x250) return c == 0xd7 || c == 0xf7 ? CharacterKind::other : CharacterKind::letter;
    if ((c >= 0x3a3 && c < 0x482) || (c >= 0xac00 && c < 0xd7a4)) return CharacterKind::letter;  // Greek, Cyrillic; Korean
    if (c >= 0x4e00 && c < 0xa000) return CharacterKind::dense;
    if (c >= 0x80 && lies_in(invisible_ranges, c)) return CharacterKind::invisible;
    switch (code_point_class(c)) {
        case CodePointClass::mark: return CharacterKind::mark;
        case CodePointClass::letter:
            return c >= 0x80 && lies_in(dense_ranges, c) ? CharacterKind::dense : CharacterKind::letter;
        case CodePointClass::number:
            return c >= 0x80 && lies_in(dense_ranges, c) ? CharacterKind::dense : CharacterKind::number;
        case CodePointClass::space:
        case CodePointClass::other: break;
    }
    return punctuation_kind(c);
}

inline constexpr auto ascii_kinds = [] {
    std::array<CharacterKind, 128> kinds{};
    for (char32_t c = 0; c < 128; ++c) kinds[c] = kind_of(c);
    return kinds;
}();

struct KnownCharacter {
    std::size_t bytes;
    CharacterKind kind;
};

inline KnownCharacter character_at(std::string_view text, std::size_t at) noexcept {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return {1, ascii_kinds[byte]};
    const CodePoint c = first_code_point(text.substr(at));
    return {c.bytes, c.valid ? kind_of(c.value) : CharacterKind::other};
}

/// How runs are found: letters, marks and numbers only, or what Unicode calls a word.
struct PlainWords {
    static constexpr bool joined = false;
};
struct JoinedWords {
    static constexpr bool joined = true;
};

/// A part of a text: one word, or neighbours in a script without spaces.
struct TextRun {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool ascii = true;
    bool dense = false;
};

/// Whether a character in the middle, which stands at `at` and is not part of words, joins what is on both sides of it.
/// Source    Unicode Standard Annex 29, rules WB4, WB6, WB7, WB11 and WB12
inline bool bridges(std::string_view text, std::size_t at, CharacterKind before, KnownCharacter middle) noexcept {
    const bool letters = before == CharacterKind::letter && middle.kind != CharacterKind::mid_number;
    const bool numbers = before == CharacterKind::number && middle.kind != CharacterKind::mid_letter;
    if (middle.kind < CharacterKind::mid_letter || !(letters || numbers)) return false;
    for (at += middle.bytes; at < text.size();) {
        const KnownCharacter after = character_at(text, at);
        if (after.kind != CharacterKind::mark && after.kind != CharacterKind::invisible) return after.kind == before;
        at += after.bytes;
    }
    return false;
}

/// Finds the next run from `at` on and moves `at` behind it; false if there is none.
/// Cost      each byte is looked at once, or twice around what might join two words
template <class Words>
bool next_run(std::string_view text, std::size_t& at, TextRun& run) noexcept {
    const auto is_part = [](CharacterKind kind) {
        return kind == CharacterKind::letter || kind == CharacterKind::number ||
               (Words::joined && kind == CharacterKind::low_line);
    };
    while (at < text.size()) {
        KnownCharacter c = character_at(text, at);
        if (!is_part(c.kind) && c.kind != CharacterKind::dense) {  // a mark, too: it belongs to what stands before it
            at += c.bytes;
            continue;
        }
        run = {at, at, c.bytes == 1, c.kind == CharacterKind::dense};
        CharacterKind last = c.kind;  // of the characters that are neither marks nor invisible
        bool has_word = c.kind != CharacterKind::low_line;
        for (at += c.bytes; at < text.size(); at += c.bytes) {
            c = character_at(text, at);
            if (run.dense ? c.kind == CharacterKind::dense : is_part(c.kind)) {
                last = c.kind;
                has_word = has_word || c.kind != CharacterKind::low_line;
            } else if (c.kind != CharacterKind::mark && c.kind != CharacterKind::invisible) {
                if (!Words::joined || !bridges(text, at, last, c)) break;
            }
            run.ascii = run.ascii && c.bytes == 1;
        }
        run.end = at;
        if (has_word) return true;
    }
    return false;
}

/// Whether texts of such characters only are in normal form C, as far as that can be told at a glance: none of them is composed
/// differently, none joins the one before it, and the only one with a combining class is the virama of Devanagari.
constexpr bool is_settled(char32_t c) noexcept {
    constexpr CodePointRange settled[]{{0, 0x2ff},       {0x388, 0x482},   {0x48a, 0x58f},   {0x5d0, 0x5ea},  {0x620, 0x64a},
                                       {0x671, 0x6d3},   {0x900, 0x93b},   {0x93d, 0x94d},   {0xe01, 0xe37},  {0xe40, 0xe47},
                                       {0x3041, 0x3096}, {0x30a1, 0x30ff}, {0x3400, 0x9fff}, {0xac00, 0xd7a3}};
    return c < 0x300 || lies_in(settled, c);
}

/// Writes runs in normal form C, in lower case, without what is invisible. Its buffers are used again.
class RunWriter {
public:
    /// The run as it is searched for; valid until the next call, and may be appended to.
    std::string& write(std::string_view run, bool ascii) {
        out_.clear();
        if (ascii) {
            for (const char c : run) out_ += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
            return out_;
        }
        seen_.clear();
        bool settled = true;
        for (std::size_t at = 0; at < run.size();) {
            const CodePoint c = first_code_point(run.substr(at));
            if (kind_of(c.value) != CharacterKind::invisible) seen_ += run.substr(at, c.bytes);
            settled = settled && is_settled(c.value);
            at += c.bytes;
        }
        if (!settled) seen_ = normal_form_c(seen_);
        for (std::string_view rest = seen_; !rest.empty();) {
            const CodePoint c = first_code_point(rest);
            append_utf8(out_, to_lower(c.value));
            rest.remove_prefix(c.bytes);
        }
        return out_;
    }

private:
    std::string seen_, out_;
};

/// What stays of a term: the whole characters in its first 255 bytes.
constexpr std::string_view cut_term(std::string_view term) noexcept {
    std::size_t end = 255;
    if (term.size() <= end) return term;
    while ((static_cast<unsigned char>(term[end]) & 0xc0) == 0x80) --end;
    return term.substr(0, end);
}

/// The end of the letter at `at` and of its marks.
inline std::size_t letter_end(std::string_view run, std::size_t at) noexcept {
    for (at += first_code_point(run.substr(at)).bytes; at < run.size();) {
        const CodePoint c = first_code_point(run.substr(at));
        if (code_point_class(c.value) != CodePointClass::mark) break;
        at += c.bytes;
    }
    return at;
}

/// Calls `on_term` for each pair of neighbours in a run, or for the only letter.
template <class OnTerm>
void for_each_pair(std::string_view run, const OnTerm& on_term) {
    std::size_t first = 0;
    std::size_t second = letter_end(run, 0);
    if (second == run.size()) on_term(cut_term(run));
    while (second < run.size()) {
        const std::size_t end = letter_end(run, second);
        on_term(cut_term(run.substr(first, end - first)));
        first = second;
        second = end;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

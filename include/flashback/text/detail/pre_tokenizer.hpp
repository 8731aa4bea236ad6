/// \file Splits a text into words, before byte-level BPE merges.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The splits that are known. Each is a regular expression that is matched again and again, each time from where the last match
/// ended. The functions below are those expressions written by hand, because std::regex knows no Unicode and has no upper bound
/// on its time.
///
///     gpt2       's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///     llama_bpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
///                | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
///     qwen2      as llama_bpe, but \p{N} instead of \p{N}{1,3}
///
/// Under (?i) the long s U+017F counts as an s. The engines that the models were trained with match like that (Oniguruma in
/// Hugging Face's tokenizers, Rust's regex in tiktoken); llama.cpp does not. A byte that is not UTF-8 is a character of no
/// class.
/// Source    Radford et al. 2019, the encoder of GPT-2; the files tokenizer.json of Llama 3 and Qwen 2
enum class PreTokenizer : std::uint8_t { gpt2, llama_bpe, qwen2 };

/// The split with a GGUF name; nothing if it is not known.
inline std::optional<PreTokenizer> find_pre_tokenizer(std::string_view name) noexcept {
    if (name == "gpt-2") return PreTokenizer::gpt2;
    if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") return PreTokenizer::llama_bpe;
    if (name == "qwen2") return PreTokenizer::qwen2;
    return {};
}

/// The split with a GGUF name.
/// Throws    Error{unsupported} if it is not known, and if there is no name: llama.cpp then takes a split of its own, with
///           which no model was trained
inline PreTokenizer pre_tokenizer_of(std::string_view name) {
    if (const auto found = find_pre_tokenizer(name)) return *found;
    constexpr std::string_view expected = "expected 'gpt-2', 'llama-bpe' or 'qwen2'";
    if (name.empty()) FLASHBACK_THROW(ErrorCode::unsupported, "the vocabulary names no pre-tokenizer, ", expected);
    FLASHBACK_THROW(ErrorCode::unsupported, "the vocabulary asks for the pre-tokenizer '", printable(name), "', ", expected);
}

/// The rules of the splits, at any place in a text.
class WordScanner {
public:
    explicit WordScanner(std::string_view text) noexcept : text_(text) {}

    /// The end of the word that begins at `at`.
    /// Requires  at < size of the text
    std::size_t word_end(PreTokenizer kind, std::size_t at) const noexcept {
        if (kind == PreTokenizer::gpt2) return gpt2_end(at);
        return llama_end(at, kind == PreTokenizer::llama_bpe ? 3 : 1);
    }

private:
    struct Character {
        char32_t value = 0;
        std::size_t bytes = 0;  ///< 0 at the end of the text
        CodePointClass kind = CodePointClass::other;

        bool is(CodePointClass k) const noexcept { return bytes > 0 && kind == k; }
        bool is_letter() const noexcept { return is(CodePointClass::letter); }
        bool is_number() const noexcept { return is(CodePointClass::number); }
        bool is_space() const noexcept { return is(CodePointClass::space); }
        bool is_newline() const noexcept { return bytes > 0 && (value == '\r' || value == '\n'); }
        /// [^\s\p{L}\p{N}]: punctuation, symbols, controls, marks.
        bool is_other() const noexcept { return bytes > 0 && !is_letter() && !is_number() && !is_space(); }
    };

    Character at(std::size_t i) const noexcept {
        if (i >= text_.size()) return {};
        const CodePoint c = first_code_point(text_.substr(i));
        // One byte at a time, so that broken text is split as in llama.cpp.
        if (!c.valid) return {c.value, 1, CodePointClass::other};
        return {c.value, c.bytes, class_of(c.value)};
    }

    /// The end of the characters from `i` on that `matches` accepts.
    template <class Matches>
    std::size_t skip(std::size_t i, Matches matches) const noexcept {
        for (Character c = at(i); matches(c); c = at(i)) i += c.bytes;
        return i;
    }

    /// The end of 's, 't, 're, 've, 'm, 'll or 'd at `i`; `i` if none of them is there.
    std::size_t contraction_end(std::size_t i, bool any_case) const noexcept {
        const Character apostrophe = at(i);
        if (apostrophe.value != '\'') return i;
        const auto folded = [any_case](const Character& c) -> char32_t {
            if (!any_case) return c.value;
            return c.value == 0x17f ? U's' : to_lower(c.value);
        };
        const Character first = at(i + 1);
        const char32_t a = folded(first);
        if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 1 + first.bytes;
        const char32_t b = folded(at(i + 1 + first.bytes));
        const bool two = ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l');
        return two ? i + 3 : i;
    }

    /// \s+(?!\S)|\s+ if white space begins at `i`; with `newlines`, \s*[\r\n]+ comes before these two.
    std::size_t space_end(std::size_t i, bool newlines) const noexcept {
        std::size_t end = i, last = i, behind_newline = i;
        for (Character c = at(i); c.is_space(); c = at(end)) {
            last = end;
            end += c.bytes;
            if (c.is_newline()) behind_newline = end;
        }
        if (newlines && behind_newline > i) return behind_newline;
        // The last space belongs to the next word, unless it is the only one.
        return end < text_.size() && last > i ? last : end;
    }

    std::size_t gpt2_end(std::size_t i) const noexcept {
        if (const std::size_t end = contraction_end(i, false); end > i) return end;
        const Character c = at(i), next = at(i + c.bytes);
        const bool space_in_front = c.value == ' ' && next.bytes > 0 && !next.is_space();
        const Character first = space_in_front ? next : c;
        const std::size_t start = space_in_front ? i + c.bytes : i;
        if (first.is_letter()) return skip(start, [](const Character& x) { return x.is_letter(); });
        if (first.is_number()) return skip(start, [](const Character& x) { return x.is_number(); });
        if (first.is_other()) return skip(start, [](const Character& x) { return x.is_other(); });
        return space_end(i, false);
    }

    std::size_t llama_end(std::size_t i, int digits) const noexcept {
        if (const std::size_t end = contraction_end(i, true); end > i) return end;
        const Character c = at(i), next = at(i + c.bytes);
        const auto letter = [](const Character& x) { return x.is_letter(); };
        if (c.is_letter() || (next.is_letter() && !c.is_number() && !c.is_newline())) return skip(i + c.bytes, letter);
        if (c.is_number()) return skip(i, [digits](const Character& x) mutable { return x.is_number() && digits-- > 0; });
        if (c.is_other() || (c.value == ' ' && next.is_other())) {
            const std::size_t start = c.is_other() ? i : i + c.bytes;
            const std::size_t end = skip(start, [](const Character& x) { return x.is_other(); });
            return skip(end, [](const Character& x) { return x.is_newline(); });
        }
        return space_end(i, true);
    }

    std::string_view text_;
};

/// Calls `on_word(std::string_view)` for the words of a text in order. Together they are the whole text.
/// Cost      each character is looked at a bounded number of times
template <class OnWord>
void for_each_bpe_word(PreTokenizer kind, std::string_view text, const OnWord& on_word) {
    const WordScanner scanner{text};
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = scanner.word_end(kind, begin);
        on_word(text.substr(begin, end - begin));
        begin = end;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file What a Xapian database of ours holds: its words, and passages as bytes.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/interop/xapian.hpp"
#include "flashback/text/unicode.hpp"

#include <charconv>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The metadata of a database that says who wrote it.
inline constexpr const char* xapian_mark = "flashback";

inline std::string xapian_mark_of(XapianStemming stemming) {
    return stemming == XapianStemming::english ? "passages 1, stemming english" : "passages 1, stemming none";
}

/// The stemmer that a mark means.
/// Throws    Error{format} for another mark
inline Xapian::Stem xapian_stem(const std::string& mark, const std::string& name) {
    if (mark == xapian_mark_of(XapianStemming::english)) return Xapian::Stem{"english"};
    if (mark == xapian_mark_of(XapianStemming::none)) return Xapian::Stem{};
    FLASHBACK_THROW(ErrorCode::format, "the Xapian database '", printable(name), "' has the mark '", printable(mark),
                    "', expected one of those that XapianIndexer writes");
}

/// Calls `on_term(term)` for each word of a text.
template <class OnTerm>
void for_each_xapian_term(const Xapian::Stem& stem, std::string_view text, const OnTerm& on_term) {
    constexpr std::size_t longest = 200;  // Xapian has 245 bytes for a term, and stemming may add some
    for_each_word(text, [&](std::string_view word) {
        if (word.size() <= longest) on_term(stem(std::string{word}));
    });
}

/// What Xapian says of an error, in printable words.
inline std::string xapian_reason(const Xapian::Error& error) {
    std::string words = std::string{error.get_type()} + ": " + printable(error.get_msg());
    if (const char* system = error.get_error_string()) words += " (" + printable(system) + ")";
    return words;
}

/// A passage as bytes: each field is its length, a colon, and itself.
inline std::string xapian_data(const XapianPassage& passage) {
    std::string data;
    const auto put = [&](const std::string& field) { ((data += std::to_string(field.size())) += ':') += field; };
    for (const std::string* field : {&passage.id, &passage.title, &passage.text}) put(*field);
    for (const auto& entry : passage.metadata) {
        put(entry.first);
        put(entry.second);
    }
    return data;
}

/// The passage in bytes.
/// Throws    Error{format} if they are damaged
inline XapianPassage parse_xapian_data(std::string_view data, const std::string& shard, std::size_t document) {
    const std::size_t size = data.size();
    const auto take = [&] {
        std::size_t length = 0;
        const auto [rest, error] = std::from_chars(data.data(), data.data() + data.size(), length);
        const auto digits = static_cast<std::size_t>(rest - data.data());
        if (error != std::errc{} || digits == data.size() || *rest != ':' || length > data.size() - digits - 1) {
            FLASHBACK_THROW(ErrorCode::format, "document ", document, " of the Xapian database '", printable(shard),
                            "' is damaged: its field at byte ", size - data.size(), " of ", size,
                            " is no length, colon and as many bytes");
        }
        std::string field{data.substr(digits + 1, length)};
        data.remove_prefix(digits + 1 + length);
        return field;
    };
    XapianPassage passage;
    for (std::string* field : {&passage.id, &passage.title, &passage.text}) *field = take();
    while (!data.empty()) {
        const std::string key = take();
        passage.metadata[key] = take();
    }
    return passage;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

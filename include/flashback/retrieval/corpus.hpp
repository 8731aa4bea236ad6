/// \file Documents, and how collections of them are stored.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A document of a collection; all text is valid UTF-8.
struct Document {
    std::string id;  ///< unique in its corpus
    std::string title;
    std::string text;  ///< everything to read and to search; begins with the title if the collection has it apart
};

/// A collection of documents.
struct Corpus {
    std::vector<Document> documents;
    std::size_t replaced = 0;  ///< places where the files were not UTF-8 and got U+FFFD
};

/// How a file of plain text falls into documents.
enum class TextForm : std::uint8_t {
    /// dictd-style articles, to search in. One starts at a line whose first character is no blank, at the top or after an empty line;
    /// that line is its title. Lines that were broken only to fit a page are joined, the common indentation goes, and so do the braces
    /// around `{cross references}`.
    dictionary,
    /// WikiText, if the first line that is not empty is ` = Title = `: its articles; else the text as a whole, without a title. Every
    /// character stays.
    whole,
    /// Texts to train on: a line with a form feed and nothing else stands between two of them. Every other character stays, blank texts
    /// are left out, and there may be none. Of JSON lines, "text" alone is read.
    pages,
};

/// Reads a collection of documents; which kind it is shows in the path and in its first character.
///
/// - A folder: each .txt and .md file below it is a document. The id is the path inside the folder, the title its stem.
/// - A file that starts with `{`: JSON lines, `{"id","contents"}` as Pyserini writes them, the title being the first line of
///   the contents, or `{"_id","title","text"}` as BEIR does.
/// - Any other file: plain text of a form. Ids are the stem of the file and a number, or the stem alone for a text as a whole.
///
/// A byte order mark is dropped, and CR LF is one end of a line.
///
/// Throws    Error{io} for a path that cannot be read; Error{corpus} for binary or compressed files, lines of JSON that are no
///           documents, ids that occur twice, and, unless they are pages, if there is no document at all
/// Source    dictd(8) and dictfmt(1); Merity et al. 2016, Pointer sentinel mixture models, for WikiText
Corpus read_corpus(const std::filesystem::path& path, TextForm form = TextForm::dictionary,
                   FileAccess access = FileAccess::map);

/// The documents in the bytes of a file; `name` stands in messages, and its stem in ids.
/// Throws    Error{corpus}, as `read_corpus`
/// Cost      memory for a few times the bytes
Corpus parse_corpus(std::string_view bytes, const std::string& name, TextForm form = TextForm::dictionary);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/read_corpus.hpp"
#endif

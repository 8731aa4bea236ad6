/// \file Documents, and how collections of them are stored.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/document.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A collection of documents.
struct Corpus {
    std::vector<Document> documents;  ///< in the order of the file
    std::size_t replaced = 0;         ///< places where the files were not UTF-8 and got U+FFFD
};

/// How a file of plain text is divided into documents.
enum class TextForm : std::uint8_t {
    /// dictd-style articles, to search in. An article starts at a line whose first character is not blank, at the top or after
    /// an empty line. That line is its title. Lines that were broken only to fit a page are joined. The common indentation is
    /// removed, and so are the braces around `{cross references}`.
    dictionary,
    /// The articles of WikiText, if the first line that is not empty is ` = Title = `; else the text as a whole, without a
    /// title. Every character stays.
    whole,
    /// Texts to train on. A line with only a form feed separates two of them; every other character stays. Blank texts are left
    /// out, and a file may hold no text at all. Of JSON lines, only "text" is read.
    pages,
};

/// Reads a collection of documents. The path and the first character of the file show which kind it is.
///
/// - A folder: each .txt and .md file below it is a document. The id is the path inside the folder; the title is the file's
///   stem.
/// - A file that starts with `{`: JSON lines. They are `{"id","contents"}` as Pyserini writes them (the title is the first line
///   of the contents), or `{"_id","title","text"}` as BEIR does.
/// - A file that starts with `[` and then `{`, or with `[]` and no more: a JSON array of such objects.
/// - Any other file: plain text, divided as `form` says. Ids are the stem of the file and a number, or the stem alone for a
///   text as a whole.
///
/// A byte order mark is dropped, and CR LF ends one line.
///
/// Throws    Error{io} for a path that cannot be read; Error{corpus} for binary or compressed files, lines of JSON that are not
///           documents, arrays that do not end, ids that occur twice, and, unless the form is `pages`, if there is no
///           document at all
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

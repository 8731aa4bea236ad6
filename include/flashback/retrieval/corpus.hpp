/// \file Documents, and the three forms in which collections of them are stored.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A document of a collection; all text is valid UTF-8.
struct Document {
    std::string id;  ///< unique in its corpus
    std::string title;
    std::string text;  ///< everything to read and to search; if the collection keeps the title apart, the text begins with it
};

/// A collection of documents.
struct Corpus {
    std::vector<Document> documents;
    std::size_t replaced = 0;  ///< places where the files were not UTF-8 and got U+FFFD
};

/// Reads a collection of documents. The path and the first character of the file show which kind it is.
///
/// - A folder: each .txt and .md file below it is a document. The id is the path inside the folder; the title is the file's
///   stem.
/// - A file that starts with `{`: JSON lines. They are `{"id","contents"}` as Pyserini writes them (the title is the first line
///   of the contents), or `{"_id","title","text"}` as BEIR does.
/// - Any other file: dictd-style text. A document starts at a line whose first character is not blank, at the top or after an
///   empty line. That line is the title; the id is the stem of the file and a number.
///
/// In dictd-style text, lines that were broken only to fit a page are joined. The common indentation is removed, and so are the
/// braces around `{cross references}`. A byte order mark is dropped, and CR LF ends one line.
///
/// Throws    Error{io} for a path that cannot be read; Error{corpus} for binary files, lines of JSON that are not documents,
///           ids that occur twice, and if there is no document at all
/// Source    dictd(8) and dictfmt(1) for the text format
Corpus read_corpus(const std::filesystem::path& path, FileAccess access = FileAccess::map);

/// The documents in the bytes of a file; `name` stands in messages, and its stem in ids.
/// Throws    Error{corpus}, as `read_corpus`
/// Cost      memory for a few times the bytes
Corpus parse_corpus(std::string_view bytes, const std::string& name);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_EXTERN_READERS)
#include "flashback/retrieval/detail/read_corpus.hpp"
#endif

/// \file Texts to train on or to measure with: documents in order, with every character of them.
#pragma once

#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/corpus.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The documents of a text. Lines of JSON are read as read_corpus reads them. WikiText is known by its first line that is not
/// empty, ` = Title = `; its articles are the documents. Any other text is one document without a title. `name` stands in
/// messages, and its stem in ids.
/// Throws    Error{corpus} for binary or empty text, lines of JSON that are not documents, and ids that occur twice
/// Source    Merity et al. 2016, Pointer sentinel mixture models, for WikiText
Corpus parse_texts(std::string_view bytes, const std::string& name);

/// The documents of a file, or of a folder as read_corpus reads it.
/// Throws    Error{io} for a path that cannot be read; as `parse_texts` and `read_corpus`
Corpus read_texts(const std::filesystem::path& path, FileAccess access = FileAccess::map);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_EXTERN_READERS)
#include "flashback/data/detail/read_texts.hpp"
#endif

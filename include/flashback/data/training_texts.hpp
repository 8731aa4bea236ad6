/// \file Texts to train on, from files.
#pragma once

#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The texts of a file, exactly as they stand there.
struct TrainingTexts {
    std::vector<std::string> texts;  ///< none of them blank
    std::size_t replaced = 0;        ///< places where the file was not UTF-8 and got U+FFFD
};

/// Reads texts to train on or to validate with. The first character shows which kind of file it is.
///
/// - `{`: JSON lines. The "text" of each line is a text; other fields, such as "_id" and "title", are not read.
/// - Anything else is plain text. A line with only a form feed separates two texts; without such a line, the file is one text.
///
/// A byte order mark is dropped, and CR LF ends one line. A file may hold no text.
/// Throws    Error{io} for a file that cannot be read; Error{corpus} for a binary or compressed one, and for lines of JSON
///           without "text"
TrainingTexts read_training_texts(const std::filesystem::path& path, FileAccess access = FileAccess::map);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_EXTERN_READERS)
#include "flashback/data/detail/read_training_texts.hpp"
#endif

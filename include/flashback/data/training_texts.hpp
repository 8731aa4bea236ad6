/// \file Texts to train on, from files.
#pragma once

#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The texts of a file, as they stand there.
struct TrainingTexts {
    std::vector<std::string> texts;  ///< none of them blank
    std::size_t replaced = 0;        ///< places where the file was no UTF-8 and got U+FFFD
};

/// Reads texts to train on or to validate with; which kind of file it is shows in its first character.
///
/// - `{`: JSON lines; the "text" of each is a text, and other fields, such as "_id" and "title", are not read.
/// - Anything else is plain text. A line with a form feed and nothing else stands between two texts; without one, the file is one.
///
/// A byte order mark is dropped, and CR LF is one end of a line. A file may hold no text.
/// Throws    Error{io} for a file that cannot be read; Error{corpus} for a binary or compressed one, and for lines of JSON without
///           "text"
TrainingTexts read_training_texts(const std::filesystem::path& path, FileAccess access = FileAccess::map);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_EXTERN_READERS)
#include "flashback/data/detail/read_training_texts.hpp"
#endif

/// \file A document of a collection.
#pragma once

#include "flashback/core/config.hpp"

#include <string>

namespace flashback::inline FLASHBACK_ISA {

/// A document of a collection; all text is valid UTF-8.
struct Document {
    std::string id;     ///< unique in its corpus
    std::string title;  ///< may be empty
    std::string text;   ///< everything to read and to search; begins with the title if the file has it apart
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Numbers as the parser of methods reads them.
#pragma once

#include "flashback/core/config.hpp"

#include <charconv>
#include <string>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A number in the fewest digits that read as the same number, whatever the locale.
inline std::string printed(double number) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, number);
    return {digits, end.ptr};
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

/// \file Unicode's normal form C.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
/// A text in Unicode's normal form C: a letter and its marks become one character if Unicode has one. Bytes that are not UTF-8
/// stay.
/// Cost      characters below U+0300 stay as they are and cost almost nothing
/// Source    The Unicode Standard 15.0, section 3.11 and annex 15
std::string normal_form_c(std::string_view text);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/text/detail/normal_form_c.hpp"
#endif

/// \file How long the names in a GGUF file may be.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::size_t gguf_most_key = 65535;
inline constexpr std::size_t gguf_most_name = 63;

}  // namespace flashback::inline FLASHBACK_ISA::detail

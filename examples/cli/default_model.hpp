/// \file The model that is a part of the program.
#pragma once

#include <cstddef>
#include <span>

namespace cli {

/// The bytes of examples/models/flashback-base-5m.gguf.
std::span<const std::byte> default_model();

}  // namespace cli

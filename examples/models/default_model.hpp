/// \file The model that is a part of the program.
#pragma once

#include <cstddef>
#include <span>

namespace flashback_examples {

/// The bytes of examples/models/flashback-base-5m.gguf.
std::span<const std::byte> default_model();

}  // namespace flashback_examples

/// \file `inspect --adapter`: what the files of an adapter hold.
#pragma once

#include "flashback/files/model_source.hpp"

#include <string>

namespace cli {

/// Prints what an adapter is, and whether it can be used with the model of a file.
/// Throws    flashback::Error if it is not an adapter that can be read
void inspect_adapter(const std::string& adapter, const flashback::ModelSource& model, bool tensors, bool json);

}  // namespace cli

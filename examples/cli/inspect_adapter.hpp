/// \file `inspect --adapter`: what the folder of an adapter holds.
#pragma once

#include "flashback/model/model_source.hpp"

#include <string>

namespace cli {

/// Prints what an adapter is, and whether it can be used with the model of a file.
/// Throws    flashback::Error if the folder is no adapter that can be read
void inspect_adapter(const std::string& folder, const flashback::ModelSource& model, bool tensors, bool json);

}  // namespace cli

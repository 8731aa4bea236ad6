/// \file What `inspect` says of a Hugging Face folder.
#pragma once

#include "common.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/model_source.hpp"

namespace cli {

/// The same fields as for a file, except the vocabulary.
/// Requires  the source is a folder
Json inspect_folder(const flashback::ModelSource& source, flashback::ExecutorRef executor, bool tensors);

}  // namespace cli

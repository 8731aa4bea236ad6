/// \file A file of repacked weights, which the next start maps.
#pragma once

#include "files_of_command.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/load.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace cli {

/// Where repacked weights are kept, if they are.
class WeightsOption {
public:
    /// Adds --weights-cache and --verify-weights-cache.
    void add(CLI::App& command);
    /// Names the file, so that no output replaces it.
    void tell(FilesOfCommand& files, const std::string& model) const;
    /// How a model is loaded.
    flashback::LoadOptions options(const flashback::ModelSource& model, flashback::ExecutorRef executor) const;

private:
    std::string path_of_cache(const std::string& model) const;

    std::string file_;
    bool verify_ = false;
};

}  // namespace cli

/// \file The option that gives random weights of a known shape instead of a model.
#pragma once

#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <CLI/CLI.hpp>

#include <optional>

namespace cli {

/// Adds --shape SHAPE:DTYPE; both must outlive the command.
CLI::Option* add_shape(CLI::App& command, std::optional<flashback::TransformerConfig>& shape, flashback::DType& dtype);

}  // namespace cli

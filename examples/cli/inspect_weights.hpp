/// \file What `inspect` says of the tensors of any file.
#pragma once

#include "common.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cli {

/// A tensor of either kind of file; its sides in the order of the file.
struct ListedTensor {
    std::string name;
    std::string type_name;
    std::optional<flashback::DType> type;  ///< nothing if this library has no name for it
    std::vector<std::uint64_t> shape;
    std::span<const std::byte> data;
};
ListedTensor listed(const flashback::GgufTensor& tensor);
ListedTensor listed(const flashback::SafeTensor& tensor);

/// Tensors, weights and bytes, in all and by element type, and which weights are not finite numbers.
Json weights_json(const std::vector<ListedTensor>& tensors, flashback::ExecutorRef executor);

/// Each tensor; its sides are called `shape`.
Json tensors_json(const std::vector<ListedTensor>& tensors, const char* shape);

/// Why an encoder cannot be run by the commands.
inline constexpr const char* encoder_obstacle =
    "it is an encoder, which turns texts into vectors (TextEncoder) and writes none";

/// A value as people read it, in one line.
std::string shown(const Json& value);

/// Prints a name and a value.
void print_line(const std::string& name, const Json& value);

/// Prints what `weights_json` gave, by element type if that is wanted.
void print_weights(const Json& weights, bool by_type);

/// Prints what `tensors_json` gave.
void print_tensors(const Json& tensors, const char* shape, int width);

}  // namespace cli

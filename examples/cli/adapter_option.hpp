/// \file --adapter DIR|FILE[:SCALE]: a LoRA and marker rows on top of the model.
#pragma once

#include "common.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"

#include <cstddef>
#include <memory>
#include <string>

namespace cli {

/// What --adapter asks for.
struct AdapterOption {
    std::string path;  ///< a folder of PEFT or a GGUF file; empty: no adapter
    float scale = 1;
    std::size_t tokens = 0;  ///< how many are used with it: it may bring rows for some beyond the vocabulary

    bool given() const noexcept { return !path.empty(); }
};

/// Adds --adapter. After the last colon comes a scale, unless the whole is the name of a file or folder that exists.
void add_adapter(CLI::App& command, AdapterOption& adapter);

/// The adapter, packed for a model; null if none was asked for.
/// Throws    as flashback::load_adapter
std::shared_ptr<const flashback::PackedAdapter> open_adapter(const AdapterOption& adapter, const flashback::Transformer& model);

/// "folder" or "file", by what an adapter is.
std::string kind_of(const std::string& adapter);

/// Adds to the JSON object of a command what was asked for, if something was.
void describe(const AdapterOption& adapter, Json& json);

}  // namespace cli

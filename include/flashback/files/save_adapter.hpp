/// \file Writes an adapter as a folder that PEFT reads.
#pragma once

#include "flashback/format/folder.hpp"
#include "flashback/model/adapter.hpp"

#include <cstddef>
#include <filesystem>
#include <string>

namespace flashback::inline FLASHBACK_ISA {

/// What the files say besides numbers.
struct SaveAdapterOptions {
    std::string base_model = {};  ///< base_model_name_or_path: where PEFT looks for the model
    float dropout = 0;            ///< lora_dropout of the training
};

/// Writes an adapter as PEFT does, for a model of the same shape. Numbers are F32. The folder is made if it is not there, and
/// removed again if nothing could be written. Other files in it stay.
///
/// `load_adapter` gives back the same bits. PEFT gives the same outputs with Hugging Face's form of the model; if the adapter
/// has rows for new tokens, the embedding of that model must be enlarged first.
///
/// Both files are complete on the disk before either appears. If the program is killed between the two, the folder has no
/// configuration, and is refused. An old configuration never stands beside new numbers.
/// Throws    Error{contract} if the adapter does not fit the model or changes nothing; Error{io}
void save_adapter(const Adapter& adapter, const TransformerConfig& model, const std::filesystem::path& folder,
                  const SaveAdapterOptions& options = {});

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/save_adapter.hpp"
#endif

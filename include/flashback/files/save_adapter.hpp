/// \file From an adapter to the folder that PEFT reads.
#pragma once

#include "flashback/model/adapter.hpp"

#include <cstddef>
#include <filesystem>
#include <string>

namespace flashback::inline FLASHBACK_ISA {

/// What the files say besides the numbers.
struct SaveAdapterOptions {
    std::string base_model = {};  ///< base_model_name_or_path: where PEFT looks for the model
    float dropout = 0;            ///< lora_dropout of the training
};

/// Writes an adapter as PEFT does, for a model of the same shape: `load_adapter` gives the same bits again, and PEFT the same outputs
/// with Hugging Face's form of the model, whose embedding must have been given rows for new tokens before. Numbers are F32. The folder is made if it is not there; other files in it stay.
///
/// Both files are complete on the disk before either appears. A program that is killed between the two leaves a folder without a
/// configuration, which is refused, and never an old one beside new numbers.
/// Throws    Error{contract} if the adapter does not fit the model or changes nothing; Error{io}
void save_adapter(const Adapter& adapter, const TransformerConfig& model, const std::filesystem::path& folder,
                  const SaveAdapterOptions& options = {});

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/save_adapter.hpp"
#endif

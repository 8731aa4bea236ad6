/// \file Loads adapters.
#pragma once

#include "flashback/format/gguf.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/model/adapter.hpp"

#include <cstddef>
#include <filesystem>

namespace flashback::inline FLASHBACK_ISA {

/// What must be known to load an adapter.
struct LoadAdapterOptions {
    std::size_t tokens = 0;  ///< how many tokens the vocabulary has, if it gained some beyond the rows of the model
    FileAccess access = FileAccess::map;  ///< how the files are read
};

/// The adapter in a folder of PEFT, or in a GGUF file for llama.cpp.
///
/// A folder of PEFT holds two things:
/// - LoRA pairs of F32, F16 or BF16 for linear layers of blocks. Rows of B of queries and keys are moved into the order of this
///   model, which rotates other pairs than Hugging Face's. GPT-2's `c_attn` is three layers here and is taken apart.
/// - Rows of the input embedding: only the trained ones (`trainable_token_indices`), or the whole matrix (`modules_to_save`).
///   The whole matrix is read row by row. A row that is the model's own, as it is or rounded to the model's type, is not kept.
///   Rows beyond the model's belong to tokens that the vocabulary gains. The output head stays that of the model.
///
/// A GGUF file holds pairs of any type that can be read. If it has a pair for `token_embd.weight`, what that adds becomes rows
/// that replace the model's, exact except for one rounding.
/// Throws    Error{io}, Error{format}, Error{unsupported}, Error{vocabulary}: a file is absent or damaged, says something that
///           is not implemented, does not fit the model or the vocabulary, or changes nothing; the sentence names the tensor or
///           the field
Adapter load_adapter(const std::filesystem::path& files, const Transformer& model, const LoadAdapterOptions& options = {});

/// The adapter in a GGUF file that is open.
/// Throws    as above, except Error{io}
Adapter load_adapter(const GgufFile& file, const Transformer& model);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/load_adapter.hpp"
#endif

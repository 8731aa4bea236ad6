/// \file Writes a model as a model file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/fwd.hpp"
#include "flashback/model/transformer.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace flashback::inline FLASHBACK_ISA {

/// Refuses a model that `write_model` would refuse because its family's architecture in GGUF has no place for it. So a program
/// can find that out before it trains the model.
/// Throws    Error{unsupported}
void check_gguf_writable(const TransformerConfig& c);

/// Writes a model of the families Llama, Mistral, Qwen2 or GPT-2 as a GGUF file, as a whole or not at all.
///
/// - Matrices are written as `type`, or as f16 if their rows cannot be cut into whole blocks of it; norms, biases and positions
///   as f32. Rows stand in the order of the architecture.
/// - The tokenizer is copied from another file. Its EOS becomes the first token that ends a text of this model.
///
/// llama.cpp runs the file, except for a Qwen2 whose heads together are not as wide as the model.
/// Throws    Error{unsupported} for a type or a family that cannot be written; Error{format} for weights that are not finite
///           numbers, or would not be finite as `type`; Error{io}
/// Cost      the memory of one row beside the model
/// Source    llama.cpp's names of keys and tensors (gguf-py/gguf/constants.py)
void write_model(const std::filesystem::path& target, const Transformer& model, const GgufFile& tokenizer, DType type);

/// The same with a vocabulary in memory, or with none (null). Unused tokens fill it up to the rows of the embedding, as
/// llama.cpp expects.
/// Throws    also Error{vocabulary} for more tokens than the embedding has rows
void write_model(const std::filesystem::path& target, const Transformer& model, const Vocabulary* vocabulary, DType type);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/write_model.hpp"
#endif

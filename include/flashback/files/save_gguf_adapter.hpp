/// \file From an adapter to the GGUF file that llama.cpp reads.
#pragma once

#include "flashback/model/adapter.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace flashback::inline FLASHBACK_ISA {
/// Writes an adapter as llama.cpp reads it, for a model in the order of rows of its GGUF file: a pair of F32 for each linear layer, and
/// one for `token_embd.weight` where rows are replaced, which adds to the model's rows what the adapter's are more. `load_adapter`
/// gives the same pairs again, and the same rows but for a rounding of that difference.
///
/// The file has one alpha; where a pair has another, its B is multiplied. llama.cpp's scale, unlike that of a session, is also one of
/// rows: they come out right at 1.
/// Throws    Error{contract} if the adapter does not fit the model or changes nothing; Error{unsupported} for a family that GGUF has
///           not, for tokens that the model lacks, and for rows where the output head is tied to the embedding; Error{io}
/// Cost      4 bytes a number of the pairs; the pair for rows holds a number for each token of the model and each row, at most as many
///           rows as the embedding is wide
/// Source    ggml-org/llama.cpp, convert_lora_to_gguf.py (keys and names), src/llama-adapter.cpp (shapes)
void save_gguf_adapter(const Adapter& adapter, const Transformer& model, const std::filesystem::path& target);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/save_gguf_adapter.hpp"
#endif

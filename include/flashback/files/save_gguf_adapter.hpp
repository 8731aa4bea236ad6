/// \file Writes an adapter as a GGUF file that llama.cpp reads.
#pragma once

#include "flashback/model/adapter.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace flashback::inline FLASHBACK_ISA {
/// Writes an adapter in the form that llama.cpp reads, with rows in the order of the model's GGUF file.
///
/// - Each linear layer gets a pair of F32.
/// - If the adapter replaces rows of the input embedding, there is one more pair, for `token_embd.weight`. It adds the
///   difference between the adapter's rows and the model's.
/// - The file has one alpha. If a pair has another, its B is multiplied to make up for that.
///
/// `load_adapter` gives back the same pairs. It also gives back the same rows, except for the rounding of the difference. A
/// scale in llama.cpp multiplies that difference too, but the scale of a session does not. So llama.cpp has the right rows only
/// at scale 1.
/// Throws    Error{contract} if the adapter does not fit the model or changes nothing; Error{unsupported} for a family that
///           GGUF does not have, for tokens that the model lacks, and for rows if the output head is tied to the embedding;
///           Error{io}
/// Cost      4 bytes for each number of the pairs. The pair for rows has one number for each token of the model and each row;
///           if there are more rows than the embedding is wide, its width counts instead
/// Source    ggml-org/llama.cpp, convert_lora_to_gguf.py (keys and names), src/llama-adapter.cpp (shapes)
void save_gguf_adapter(const Adapter& adapter, const Transformer& model, const std::filesystem::path& target);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/save_gguf_adapter.hpp"
#endif

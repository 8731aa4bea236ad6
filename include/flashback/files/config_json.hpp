/// \file The config.json of a Hugging Face model.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/transformer_config.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What config.json says of a model.
struct ModelConfig {
    TransformerConfig shape;         ///< the hyper-parameters
    bool tied = false;               ///< the head is the embedding
    std::vector<TokenId> ends = {};  ///< tokens that end a text: eos_token_id
};

/// Reads the text of a config.json of Llama, Mistral, Qwen2, GPT-2, OPT, BERT or DPR (whose encoders are BERT's); `file` is the name that errors give it.
/// Throws    Error{format} if it is not JSON of this form, and for a number that is missing or impossible; Error{unsupported}
///           for another model, and for every field that says something and is not known to leave the arithmetic alone
/// Source    huggingface/transformers, models/*/configuration_*.py and modeling_*.py; modeling_rope_utils.py
ModelConfig parse_config_json(std::string_view json, const std::string& file);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/read_config_json.hpp"
#endif

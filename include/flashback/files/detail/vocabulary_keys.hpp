/// \file Our own keys in the metadata of GGUF files.
#pragma once

#include "flashback/core/config.hpp"

namespace flashback::inline FLASHBACK_ISA::detail {

/// What a vocabulary says that GGUF has no keys for. Other programs ignore these keys.
inline constexpr const char* key_by_rank = "tokenizer.flashback.merges_by_rank";
inline constexpr const char* key_fuse_unknown = "tokenizer.flashback.fuse_unknown";
inline constexpr const char* key_normal_form_c = "tokenizer.flashback.normal_form_c";
inline constexpr const char* key_whole_words = "tokenizer.flashback.whole_words";

}  // namespace flashback::inline FLASHBACK_ISA::detail

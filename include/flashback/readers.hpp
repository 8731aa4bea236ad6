/// \file Compiles what reads files once for a whole program of many translation units.
///
/// Include it in one source, before other headers of the library. Compile the others with FLASHBACK_EXTERN_READERS defined, and
/// all of them for the same instruction set. Without that macro every translation unit compiles what it uses, and there is
/// nothing to link.
#pragma once

#if !defined(FLASHBACK_EXTERN_READERS)
#define FLASHBACK_EXTERN_READERS
#endif

#include "flashback/data/detail/read_texts.hpp"
#include "flashback/data/detail/read_training_texts.hpp"
#include "flashback/files/detail/load_adapter.hpp"
#include "flashback/files/detail/load_folder.hpp"
#include "flashback/files/detail/load_gguf.hpp"
#include "flashback/files/detail/read_config_json.hpp"
#include "flashback/format/detail/module_pattern.hpp"
#include "flashback/format/detail/peft_config.hpp"
#include "flashback/format/detail/read_gguf.hpp"
#include "flashback/format/detail/read_safetensors.hpp"
#include "flashback/format/detail/read_safetensors_index.hpp"
#include "flashback/format/detail/read_tokenizer_folder.hpp"
#include "flashback/format/detail/read_tokenizer_json.hpp"
#include "flashback/retrieval/detail/read_corpus.hpp"

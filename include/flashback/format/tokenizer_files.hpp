/// \file The tokenizer in a Hugging Face folder: tokenizer.json, or vocab.json and merges.txt, and other files that say
/// something about the tokens.
#pragma once

#include "flashback/core/vocabulary.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The vocabulary in the text of a tokenizer.json. It must be BPE, in one of two forms:
/// - over bytes: pre-tokenizer and decoder ByteLevel, words split as GPT-2, Llama 3 or Qwen 2 split them, perhaps after the
///   normalizer NFC;
/// - over characters with U+2581 for a space: normalizers Prepend and Replace, as converters of SentencePiece leave it. Merges
///   then have ranks.
///
/// Special added tokens become control tokens, other added tokens become user-defined ones. BOS is what TemplateProcessing puts
/// in front of a text. `file` is the name that errors give the file.
/// Throws    Error{format} if it is not JSON of this form; Error{vocabulary} for tokens that contradict each other;
///           Error{unsupported} for a model, normalizer, pre-tokenizer, post-processor or decoder that is not known here, and
///           for each setting that would tokenise in another way
/// Source    huggingface/tokenizers, tokenizers/src: models/bpe, normalizers, pre_tokenizers, processors/template.rs,
///           tokenizer/added_vocabulary.rs
Vocabulary parse_tokenizer_json(std::string_view json, const std::string& file);

/// Whether a folder has a tokenizer: tokenizer.json, or vocab.json and merges.txt.
bool has_tokenizer_files(const std::filesystem::path& folder);

/// The vocabulary of a folder. It is tokenizer.json, or else vocab.json and merges.txt, which are byte-level BPE with the words
/// of GPT-2. What tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json say of BOS, EOS and special
/// tokens counts too. `add_bos_token` decides whether BOS stands in front of texts. With OPT it does unless the files say
/// otherwise, and then it also stands in front of passages.
/// Throws    as parse_tokenizer_json; Error{io}; Error{vocabulary} if the folder has no tokenizer
/// Source    huggingface/transformers: models/gpt2/tokenization_gpt2.py; FlashBack's data_prepare.py for OPT's passages
Vocabulary read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_tokenizer_folder.hpp"
#include "flashback/format/detail/read_tokenizer_json.hpp"
#endif

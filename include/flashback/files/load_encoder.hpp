/// \file Loads encoders: a model with its tokenizer, and how it turns hidden states into vectors.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/model_source.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/text_encoder.hpp"
#include "flashback/text/word_piece.hpp"

#include <filesystem>

namespace flashback::inline FLASHBACK_ISA {

/// The WordPiece vocabulary of a GGUF file. There, pieces that begin a word have U+2581 in front, and those within one have
/// nothing. Capitals become small and accents are taken off, unless the file says otherwise.
/// Throws    Error{vocabulary} if the file has none or it contradicts itself
/// Source    ggml-org/llama.cpp, convert_hf_to_gguf.py, BertModel.set_vocab; src/llama-vocab.cpp
WordPieceVocabulary read_word_pieces(const GgufFile& file);

/// The WordPiece vocabulary of a Hugging Face folder: tokenizer.json, or else vocab.txt with what tokenizer_config.json says.
/// Throws    Error{io}; Error{format} if a file is not of this form; Error{vocabulary} if the folder has none;
///           Error{unsupported} for another kind of tokenizer, and for each setting that would tokenise in another way
/// Source    huggingface/transformers, models/bert/tokenization_bert.py; huggingface/tokenizers, normalizers/bert.rs
WordPieceVocabulary read_word_piece_files(const std::filesystem::path& folder);

/// The encoder of a GGUF file. Of an encoder ("bert"), `bert.pooling_type` tells how hidden states become a vector; the mean if it
/// does not. A model that writes texts gives the mean of its last hidden states. GGUF does not tell whether vectors get the length
/// 1: they do, as llama.cpp's programs do it. Encoder::normalise may be changed before a TextEncoder is made, which DPR needs.
/// Throws    as load_model and read_word_pieces; Error{unsupported} for another pooling; Error{vocabulary} for more tokens than the model
///           has rows
Encoder load_encoder(const GgufFile& file, ExecutorRef executor = {});

/// The encoder of a Hugging Face folder. modules.json and the configuration of the pooling are those of sentence-transformers. If they
/// are absent, DPR gives the hidden state of the first token, other encoders give the mean, and the length stays as it is.
/// sentence_bert_config.json may say how many tokens texts have at most.
/// Throws    as load_model_folder and read_word_piece_files; Error{unsupported} for another module or another pooling;
///           Error{vocabulary} for more tokens than the model has rows
/// Source    UKPLab/sentence-transformers, models/Pooling.py, Normalize.py, Transformer.py
Encoder load_encoder_folder(const std::filesystem::path& folder, ExecutorRef executor = {},
                            FileAccess access = FileAccess::map);

/// The encoder of a GGUF file or a Hugging Face folder.
/// Throws    as the two above
inline Encoder load_encoder(const ModelSource& source, ExecutorRef executor = {}) {
    return source.gguf() ? load_encoder(*source.gguf(), executor)
                         : load_encoder_folder(source.name(), executor, source.access());
}
inline Encoder load_encoder(const std::filesystem::path& path, ExecutorRef executor = {}, FileAccess access = FileAccess::map) {
    return load_encoder(ModelSource::open(path, access), executor);
}

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/load_encoder.hpp"
#endif

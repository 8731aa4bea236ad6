/// \file Loads models and tokenizers.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/model_source.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/text/tokenizer.hpp"

#include <filesystem>
#include <memory>

namespace flashback::inline FLASHBACK_ISA {

/// The vocabulary of a GGUF file. If the file does not say whether texts begin with BOS, we do what llama.cpp does: they do for
/// SentencePiece ("llama") and for the pre-tokenizer "llama-bpe" if there is a BOS token, and for no others.
/// Throws    Error{vocabulary} if the file has none or it contradicts itself, and if a byte-level BPE ("gpt2") has no merges
Vocabulary read_vocabulary(const GgufFile& file);

/// The same for a GGUF file or a Hugging Face folder (read_tokenizer_files).
inline Vocabulary read_vocabulary(const ModelSource& source) {
    return source.gguf() ? read_vocabulary(*source.gguf()) : read_tokenizer_files(source.name());
}

/// The hyper-parameters of a GGUF file of the architectures "llama" (Mistral's too), "qwen2", "gpt2" or "bert".
/// Throws    Error{format} if one is missing or impossible; Error{unsupported} for another architecture, or for a setting that
///           would change the arithmetic in a way that is not implemented
TransformerConfig read_config(const GgufFile& file);

/// The tokenizer of a GGUF file, or of a Hugging Face folder (read_tokenizer_files).
/// Throws    Error{vocabulary}, Error{unsupported}; with a path also what GgufFile::open throws
inline Tokenizer load_tokenizer(const GgufFile& file) { return Tokenizer{read_vocabulary(file)}; }
inline Tokenizer load_tokenizer(const ModelSource& source) { return Tokenizer{read_vocabulary(source)}; }
inline Tokenizer load_tokenizer(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
    return load_tokenizer(ModelSource::open(path, access));
}

/// How a model is loaded.
struct LoadOptions {
    ExecutorRef executor = {};                  ///< what reads several tensors at once
    std::filesystem::path weights_cache = {};   ///< a file of repacked weights (WeightsCache); none if it is empty
    FileAccess cache_access = FileAccess::map;  ///< whether weights stay in that file, or are copied from it
    bool verify_cache = false;                  ///< compares the checksums of all weights, in that file and the model file
};

/// The model of a GGUF file, with its weights repacked. (load_encoder also reads the tokenizer of an encoder.) F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K are run as they are. Q4_1,
/// Q5_0, Q5_1, Q2_K, Q3_K and Q5_K become Q8_0, and Transformer::notes says so.
///
/// With LoadOptions::weights_cache, weights that were repacked before are taken from that file. It must be of this model file: of
/// its size, its time, its metadata and its directory of tensors, and packed as they are today. If it is not, is damaged or is not
/// there, the weights are repacked, the file is written anew, and Transformer::notes says why. A file of another kind is never
/// replaced.
///
/// - FileAccess::map reads weights when they are multiplied, and programs that run at once share them. FileAccess::copy reads all
///   of them into memory of their own, in huge pages.
/// - `verify_cache` reads all of both files: it also notices weights that were changed and left no trace in size and time.
/// Throws    Error{format} if a tensor is missing or has another shape than the hyper-parameters say; Error{unsupported} for a
///           tensor type or a tensor that is not known here, and for a file of repacked weights beside a model in memory or in a
///           folder; Error{vocabulary} if the file has a vocabulary that contradicts itself or has more tokens than the
///           embedding has rows; with a path also what GgufFile::open throws; nothing that is wrong with repacked weights
/// Cost      as many bytes as the tensors of the file have. Each tensor is read once, to hash it
///           (Transformer::fingerprint) and to repack it, several tensors at once if an executor is given; its pages are given
///           back on the way. Of repacked weights that are mapped, only the directories of both files are read: the weights
///           when they are multiplied
std::shared_ptr<const Transformer> load_model(const GgufFile& file, const LoadOptions& options);
inline std::shared_ptr<const Transformer> load_model(const GgufFile& file, ExecutorRef executor = {}) {
    return load_model(file, LoadOptions{.executor = executor});
}

/// The model of a Hugging Face folder of Llama, Mistral, Qwen2, GPT-2, OPT or BERT, with its weights repacked: F32, F16 and BF16,
/// which are run as they are.
///
/// - Names may lack the prefix that the class of the saved model gives them.
/// - Rows of queries and keys are moved, so that the pairs that Llama, Mistral and Qwen2 rotate stand side by side. GPT-2's
///   matrices are transposed, and its fused one is divided.
/// - If head and embedding are tied, one of them may be absent.
/// - Causal masks and rotary frequencies that are stored as tensors are ignored, and so are the heads of BERT: they read what
///   the encoder gives.
/// - Tokenizer files, if there are any, say what stands in front of texts; config.json and generation_config.json say what ends
///   them.
/// Throws    Error{io}; Error{format} if a tensor is missing or has another shape than config.json says; Error{unsupported} for
///           a field, a tensor type or a tensor that is not known here; Error{vocabulary} as for GGUF
/// Cost      reads the weights twice, to repack and to hash them; the rows of a matrix in parallel if an executor is given
std::shared_ptr<const Transformer> load_model_folder(const std::filesystem::path& folder, ExecutorRef executor = {},
                                                     FileAccess access = FileAccess::map);

/// The model of a GGUF file or a Hugging Face folder.
/// Throws    as the two above
inline std::shared_ptr<const Transformer> load_model(const ModelSource& source, const LoadOptions& options) {
    if (source.gguf()) return load_model(*source.gguf(), options);
    if (!options.weights_cache.empty()) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", source.name(),
                        "' is a folder, and repacked weights are cached for GGUF files");
    }
    return load_model_folder(source.name(), options.executor, source.access());
}
inline std::shared_ptr<const Transformer> load_model(const ModelSource& source, ExecutorRef executor = {}) {
    return load_model(source, LoadOptions{.executor = executor});
}
inline std::shared_ptr<const Transformer> load_model(const std::filesystem::path& path, ExecutorRef executor = {},
                                                     FileAccess access = FileAccess::map) {
    return load_model(ModelSource::open(path, access), executor);
}
inline std::shared_ptr<const Transformer> load_model(const std::filesystem::path& path, const LoadOptions& options) {
    return load_model(ModelSource::open(path), options);
}

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/files/detail/load_folder.hpp"
#include "flashback/files/detail/load_gguf.hpp"
#endif

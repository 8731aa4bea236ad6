/// \file Compiles once, for a whole program, what does not depend on its types: kernels, sessions, tokenizers, BM25, files,
/// training.
///
/// Include it in one source, before other headers of the library. Compile the others with FLASHBACK_COMPILED_ONCE defined, and
/// all of them for the same instruction set. Without that macro every translation unit compiles what it uses, and there is
/// nothing to link. CMake: `flashback_compile_once(TARGET)` does all that.
#pragma once

#if !defined(FLASHBACK_COMPILED_ONCE)
/// Headers only declare what this one compiles.
#define FLASHBACK_COMPILED_ONCE
#endif

// flashback_compile_once() compiles the parts beside each other: one source defines FLASHBACK_DETAIL_PART_KERNELS, and so on.
#if !defined(FLASHBACK_DETAIL_PART_KERNELS) && !defined(FLASHBACK_DETAIL_PART_FILES) && !defined(FLASHBACK_DETAIL_PART_REST)
#define FLASHBACK_DETAIL_PART_KERNELS
#define FLASHBACK_DETAIL_PART_FILES
#define FLASHBACK_DETAIL_PART_REST
#endif

#if defined(FLASHBACK_DETAIL_PART_KERNELS)
#include "flashback/simd/attention.hpp"
#include "flashback/simd/dot_rows.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/matmul.hpp"

namespace flashback::inline FLASHBACK_ISA::simd::detail {

FLASHBACK_DETAIL_MATMULS()
FLASHBACK_DETAIL_ATTENDS()
FLASHBACK_DETAIL_GEMMS()
FLASHBACK_DETAIL_DOTS()

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif

#if defined(FLASHBACK_DETAIL_PART_FILES)
#include "flashback/dense/detail/vector_store.hpp"
#include "flashback/files/detail/load_adapter.hpp"
#include "flashback/files/detail/load_encoder.hpp"
#include "flashback/files/detail/load_folder.hpp"
#include "flashback/files/detail/load_gguf.hpp"
#include "flashback/files/detail/read_config_json.hpp"
#include "flashback/files/detail/save_adapter.hpp"
#include "flashback/files/detail/save_gguf_adapter.hpp"
#include "flashback/files/detail/weights_cache.hpp"
#include "flashback/files/detail/write_model.hpp"
#include "flashback/format/detail/json_fields.hpp"
#include "flashback/format/detail/module_pattern.hpp"
#include "flashback/format/detail/peft_config.hpp"
#include "flashback/format/detail/read_gguf.hpp"
#include "flashback/format/detail/read_json_tree.hpp"
#include "flashback/format/detail/read_safetensors.hpp"
#include "flashback/format/detail/read_safetensors_index.hpp"
#include "flashback/format/detail/read_tokenizer_folder.hpp"
#include "flashback/format/detail/read_tokenizer_json.hpp"
#include "flashback/format/detail/write_gguf.hpp"
#include "flashback/format/detail/write_safetensors.hpp"
#include "flashback/kv/detail/read_block_file.hpp"
#include "flashback/kv/detail/write_block_file.hpp"
#include "flashback/measure/detail/reuse_trace.hpp"
#include "flashback/measure/detail/write_reuse_trace.hpp"
#include "flashback/retrieval/detail/read_corpus.hpp"
#endif

#if defined(FLASHBACK_DETAIL_PART_REST)
#include "flashback/data/detail/packed_text.hpp"
#include "flashback/data/detail/stride_cache.hpp"
#include "flashback/data/detail/text_stream.hpp"
#include "flashback/dense/detail/exact_index.hpp"
#include "flashback/dense/detail/vector_map.hpp"
#include "flashback/model/detail/adapter.hpp"
#include "flashback/model/detail/packed_adapter.hpp"
#include "flashback/model/detail/random_transformer.hpp"
#include "flashback/model/detail/text_encoder.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/detail/build_method.hpp"
#include "flashback/retrieval/detail/bm25_index.hpp"
#include "flashback/retrieval/detail/cut_document.hpp"
#include "flashback/retrieval/detail/index_writer.hpp"
#include "flashback/retrieval/detail/merge_answers.hpp"
#include "flashback/retrieval/detail/open_index.hpp"
#include "flashback/retrieval/detail/passages.hpp"
#include "flashback/retrieval/detail/rank_metrics.hpp"
#include "flashback/retrieval/detail/tokenizer_codec.hpp"
#include "flashback/retrieval/detail/trec.hpp"
#include "flashback/retrieval/detail/word_analyzer.hpp"
#include "flashback/text/detail/normal_form_c.hpp"
#include "flashback/text/detail/tokenizer.hpp"
#include "flashback/text/detail/word_piece.hpp"
#include "flashback/train/detail/checkpoint.hpp"
#include "flashback/train/detail/initial_model.hpp"
#include "flashback/train/detail/trainer.hpp"

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_SESSION()

}  // namespace flashback::inline FLASHBACK_ISA
#endif

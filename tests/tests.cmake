flashback_add_test(core THREADS SOURCES tensor/aligned_buffer.cpp core/any_retriever.cpp tensor/blocks.cpp
                   tensor/dequantize.cpp tensor/dtype.cpp core/error.cpp core/executor.cpp tensor/quantize.cpp
                   core/ranks.cpp core/retriever.cpp core/thread_pool.cpp core/version.cpp core/language_model.cpp core/batch_retriever.cpp
                   core/members.cpp core/embedder.cpp core/architectures.cpp testing/language_model_suite.cpp testing/retriever_suite.cpp
                   APART support/allocations.cpp)
flashback_add_test(policy SOURCES policy/context_plan.cpp policy/decision.cpp policy/distribution.cpp
                   policy/overflow.cpp policy/policies.cpp policy/query.cpp core/random.cpp
                   policy/reuse.cpp policy/schedule.cpp policy/stopping.cpp policy/wrapper.cpp
                   policy/any_policy.cpp policy/combined_schedules.cpp policy/facts.cpp policy/layout.cpp
                   policy/presets.cpp policy/sampler.cpp policy/step_view.cpp policy/truncated_sampling.cpp policy/softmax.cpp
                   policy/fusion.cpp policy/optional_members.cpp policy/sentence.cpp
                   policy/any_method.cpp policy/backoff.cpp policy/budget.cpp policy/model_queries.cpp policy/parse_schedule.cpp policy/thresholds.cpp
                   policy/adaptive.cpp policy/content_words.cpp policy/dragin.cpp policy/entropy_trend.cpp policy/flare.cpp policy/ircot.cpp policy/self_rag.cpp
                   policy/stale_every_n.cpp
                   APART support/allocations.cpp)
flashback_add_test(format SOURCES format/byte_reader.cpp format/gguf.cpp format/gguf_writer.cpp
                   format/mapped_file.cpp format/atomic_file.cpp format/folder.cpp format/json_tree.cpp format/safetensors.cpp
                   format/module_pattern.cpp format/gguf_hostile.cpp format/peft.cpp format/safetensors_folder.cpp
                   APART support/allocations.cpp)
flashback_add_test(text SOURCES text/pre_tokenizer.cpp
                   text/byte_level_bpe.cpp text/byte_level_bpe_hostile.cpp text/normalise.cpp text/sentences.cpp text/token_finder.cpp text/tokenizer.cpp text/unicode.cpp text/word_piece.cpp)
flashback_add_test(files SOURCES files/families.cpp files/tokenizer.cpp files/write_model.cpp
                   files/byte_level_bpe.cpp files/hostile.cpp files/llama_cpp.cpp files/load.cpp files/tokenizer_folder.cpp
                   files/tokenizer_json.cpp files/config_json.cpp files/convert.cpp files/model_folder.cpp files/weights_cache.cpp)
flashback_add_test(tokenizer_golden LABEL shared SOURCES files/tokenizer_golden.cpp)

flashback_add_test(exactness THREADS OPTIMISED SOURCES model/attention.cpp model/blocks.cpp model/branches.cpp model/cuts.cpp model/decoder_group.cpp model/exactness.cpp model/exactness_adapter.cpp model/exactness_decoder.cpp model/prefix_cached.cpp model/session_state.cpp model/session_suite.cpp)
flashback_add_test(fusion THREADS OPTIMISED SOURCES decoder/fusion.cpp decoder/fusion_edges.cpp decoder/moved_text.cpp decoder/rotation.cpp decoder/speculative_session.cpp eval/fusion_perplexity.cpp)
# Kernels that count in place of computing are in an inline namespace of their own.
flashback_add_test(many_threads LABEL release SOURCES model/many_threads.cpp)
target_compile_definitions(test_many_threads PRIVATE FLASHBACK_ISA=counting)
target_compile_options(test_many_threads PRIVATE -UFLASHBACK_COMPILED_ONCE)
flashback_add_test(kv_operations OPTIMISED SOURCES model/kv_operations.cpp APART support/faults.cpp)
flashback_add_test(families LABEL release OPTIMISED SOURCES model/families.cpp model/exactness_families.cpp)
flashback_add_test(exactness_types LABEL slow OPTIMISED SOURCES model/exactness_types.cpp)
# The same test must fail where sums depend on the number of rows, and say why.
flashback_add_test(exactness_notices_a_broken_order LABEL release SOURCES model/exactness.cpp)
target_compile_definitions(test_exactness_notices_a_broken_order PRIVATE FLASHBACK_TEST_BREAK_R2)
target_compile_options(test_exactness_notices_a_broken_order PRIVATE -UFLASHBACK_COMPILED_ONCE)
set_tests_properties(exactness_notices_a_broken_order PROPERTIES PASS_REGULAR_EXPRESSION "logits differ from a from-scratch evaluation")
flashback_add_test(golden OPTIMISED SOURCES model/golden.cpp)
flashback_add_test(golden_shared LABEL shared OPTIMISED SOURCES model/golden_folders.cpp model/golden_shared.cpp)
flashback_add_test(model THREADS SOURCES model/session.cpp model/tensors.cpp model/stopping.cpp format/gguf_fingerprint.cpp
                   APART support/allocations.cpp)
flashback_add_test(adapter SOURCES model/adapter.cpp model/adapter_golden.cpp
                   files/adapter_families.cpp files/adapter_files.cpp files/adapter_rows.cpp files/gguf_adapter.cpp
                   APART support/allocations.cpp)
flashback_add_test(encoder THREADS OPTIMISED SOURCES model/text_encoder.cpp files/encoder.cpp)
flashback_add_test(kv OPTIMISED THREADS SOURCES kv/contiguous_kv_cache.cpp kv/block_file.cpp kv/block_store.cpp kv/paged_kv_cache.cpp)
flashback_add_test(simd OPTIMISED SOURCES simd/attention.cpp simd/dot_rows.cpp simd/exp.cpp simd/gemm.cpp simd/gemm_bf16.cpp simd/rows.cpp simd/matmul.cpp simd/accuracy.cpp
                   APART simd/same_bits.cpp)
# The arithmetic of tiles (AMX), which few machines have: their software twin has the same bits. Where a machine has them, test_simd uses them.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  flashback_add_test(amx OPTIMISED SOURCES model/exactness_amx.cpp simd/amx.cpp simd/amx_attention.cpp simd/amx_int8.cpp simd/gemm_bf16.cpp simd/matmul.cpp
                     APART simd/same_bits.cpp)
  # With the sanitizers these would take more than ten minutes.
  flashback_add_test(amx_models LABEL release OPTIMISED SOURCES model/attention.cpp model/blocks.cpp model/branches.cpp)
  flashback_add_test(amx_notices_a_broken_order LABEL release SOURCES simd/amx.cpp)
  target_compile_definitions(test_amx_notices_a_broken_order PRIVATE FLASHBACK_TEST_BREAK_R2)
  set_tests_properties(amx_notices_a_broken_order PROPERTIES PASS_REGULAR_EXPRESSION "an output depends on the number of rows")
  # The instructions of tiles: where they are not, each traps (simd/amx_trapped.cpp).
  add_library(test_amx_trapped OBJECT simd/amx_trapped.cpp)
  target_link_libraries(test_amx_trapped PRIVATE flashback_test_main)
  target_compile_options(test_amx_trapped PRIVATE -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16
                         -mamx-tile -mamx-bf16 -mamx-int8 -UFLASHBACK_COMPILED_ONCE)
  foreach(test test_amx test_amx_notices_a_broken_order)
    target_sources(${test} PRIVATE $<TARGET_OBJECTS:test_amx_trapped>)  # last, as in FlashbackArchitectures.cmake
  endforeach()
  foreach(test test_amx test_amx_models test_amx_notices_a_broken_order)
    target_compile_definitions(${test} PRIVATE FLASHBACK_AMX_EMULATE)
    target_compile_options(${test} PRIVATE -mavx2 -mfma -mf16c -UFLASHBACK_COMPILED_ONCE)  # whatever -march says
  endforeach()
endif()
flashback_add_test(dense THREADS SOURCES dense/dense_retriever.cpp dense/exact_index.cpp dense/vector_map.cpp dense/vector_store.cpp
                   dense/whitening.cpp)
if(FLASHBACK_HNSWLIB)
  flashback_add_test(dense_hnsw THREADS SOURCES dense/hnsw.cpp APART dense/hnsw_again.cpp)
  target_include_directories(test_dense_hnsw SYSTEM PRIVATE "${FLASHBACK_HNSWLIB}")
endif()
flashback_add_test(machine_peaks LABEL release THREADS OPTIMISED SOURCES measure/machine_peaks.cpp)
target_compile_options(test_simd PRIVATE -UFLASHBACK_COMPILED_ONCE)
flashback_add_test(decoder SOURCES decoder/any_policies.cpp decoder/aside.cpp decoder/bad_input.cpp decoder/bad_tokens.cpp
                   decoder/calls.cpp decoder/cancellation.cpp decoder/counts.cpp decoder/drop_oldest.cpp
                   decoder/failures.cpp decoder/generation.cpp decoder/logits.cpp decoder/meanest.cpp
                   decoder/meddling.cpp decoder/rewind.cpp decoder/stopping.cpp decoder/window.cpp
                   decoder/attention.cpp decoder/fingerprint.cpp decoder/generator.cpp decoder/last_word.cpp
                   decoder/method.cpp decoder/methods.cpp decoder/sticky.cpp decoder/trust.cpp
                   decoder/optimal_stride.cpp decoder/speculative.cpp decoder/speculative_edges.cpp decoder/speculative_ends.cpp)
flashback_add_test(schedules LABEL release OPTIMISED SOURCES decoder/schedules_model.cpp)
set_tests_properties(schedules PROPERTIES PROCESSORS 2)  # three threads, which the thread sanitizer sees in shorter tests
target_include_directories(test_schedules PRIVATE "${PROJECT_SOURCE_DIR}/examples")
flashback_add_test(quiet THREADS SOURCES decoder/quiet.cpp decoder/quiet_session.cpp
                   APART support/allocations.cpp support/allocations_count.cpp)
# One source, several times with other options; each in an inline namespace of its own, or the linker would keep one of them.
flashback_add_test(compiler_options LABEL slow SOURCES model/compiler_options.cpp)
foreach(variant "as_built" "o0;-O0" "contract_off;-O2;-ffp-contract=off" "contract_fast;-O3;-ffp-contract=fast"
        "narrower;-O1;-mno-avx512f" "portable;-O1;-DFLASHBACK_SIMD_PORTABLE" "broken_order;-O0;-DFLASHBACK_TEST_BREAK_R2")
  list(POP_FRONT variant name)
  add_library(test_hash_${name} OBJECT model/hash_of_logits.cpp)
  target_link_libraries(test_hash_${name} PRIVATE flashback_test_main)
  target_compile_options(test_hash_${name} PRIVATE ${variant} -UFLASHBACK_COMPILED_ONCE)
  target_compile_definitions(test_hash_${name} PRIVATE FLASHBACK_ISA=test_${name} FLASHBACK_TEST_HASH=hash_${name})
  set_target_properties(test_hash_${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  target_link_libraries(test_compiler_options PRIVATE test_hash_${name})
endforeach()
set_property(TEST compiler_options APPEND PROPERTY LABELS compilers)  # for clang, whose optimiser is another
flashback_add_test(train OPTIMISED SOURCES train/golden.cpp train/operations.cpp train/optimiser.cpp)
flashback_add_test(train_examples SOURCES data/retrieval_examples.cpp data/shared_history.cpp data/shuffled_passes.cpp)
flashback_add_test(train_files SOURCES train/checkpoint.cpp data/packed_text.cpp data/parted_text.cpp)
flashback_add_test(trainer THREADS OPTIMISED SOURCES train/adapter.cpp train/families.cpp train/precision.cpp train/ranks.cpp train/shared_history.cpp train/trainer.cpp)
flashback_add_test(train_gradients LABEL slow OPTIMISED SOURCES train/gradients.cpp)
# The check of gradients must notice a derivative that lacks a term.
flashback_add_test(train_notices_a_broken_derivative LABEL slow OPTIMISED SOURCES train/gradients.cpp)
target_compile_definitions(test_train_notices_a_broken_derivative PRIVATE FLASHBACK_TEST_BREAK_BACKWARD)
target_compile_options(test_train_notices_a_broken_derivative PRIVATE -UFLASHBACK_COMPILED_ONCE)
set_tests_properties(train_notices_a_broken_derivative PROPERTIES PASS_REGULAR_EXPRESSION "a gradient differs from finite differences")

# Memory and files that fail on purpose.
# The sanitizers have functions of their own for files: under them only allocations can fail, as in kv_operations.
flashback_add_test(faults LABEL release SOURCES faults/blocks.cpp faults/dense.cpp faults/folders.cpp faults/index.cpp faults/kills.cpp faults/reading.cpp faults/models.cpp faults/sessions.cpp APART support/faults.cpp)
flashback_add_test(faults_training LABEL release SOURCES faults/training.cpp APART support/faults.cpp)

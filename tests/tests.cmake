flashback_add_test(core SOURCES core/aligned_buffer.cpp core/dtype.cpp core/error.cpp core/executor.cpp core/language_model.cpp
                                core/retriever.cpp core/thread_pool.cpp)
flashback_add_test(policy SOURCES policy/context_plan.cpp policy/layout.cpp policy/policies.cpp policy/query.cpp policy/reuse.cpp
                                  policy/sampler.cpp policy/schedule.cpp policy/step_view.cpp policy/wrapper.cpp
                                  support/allocations.cpp)
flashback_add_test(format SOURCES format/byte_reader.cpp format/gguf.cpp format/gguf_hostile.cpp format/mapped_file.cpp
                                  support/allocations.cpp)
flashback_add_test(text SOURCES text/tokenizer.cpp text/unicode.cpp)
flashback_add_test(loading SOURCES loading/load.cpp loading/tokenizer.cpp)
flashback_add_test(tokenizer_golden LABEL shared SOURCES loading/tokenizer_golden.cpp)

flashback_add_test(exactness SOURCES model/exactness.cpp)
# The same test must fail where sums depend on the number of rows, and say why.
flashback_add_test(exactness_notices_a_broken_order SOURCES model/exactness.cpp)
target_compile_definitions(test_exactness_notices_a_broken_order PRIVATE FLASHBACK_TEST_BREAK_R2)
set_tests_properties(exactness_notices_a_broken_order PROPERTIES PASS_REGULAR_EXPRESSION "logits differ from a from-scratch evaluation")
flashback_add_test(golden SOURCES model/golden.cpp)
flashback_add_test(golden_stories260K LABEL shared SOURCES model/golden_stories260K.cpp)
flashback_add_test(model SOURCES model/session.cpp)
flashback_add_test(kv SOURCES kv/contiguous_kv_cache.cpp)
flashback_add_test(simd SOURCES simd/attention.cpp simd/exp.cpp simd/matmul.cpp simd/rows.cpp)
flashback_add_test(decoder SOURCES decoder/decoder.cpp decoder/quiet.cpp support/allocations.cpp)

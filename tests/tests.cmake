flashback_add_test(policy SOURCES policy/schedule.cpp)

flashback_add_test(exactness SOURCES model/exactness.cpp)
# The same test must fail where sums depend on the number of rows, and say why.
flashback_add_test(exactness_notices_a_broken_order SOURCES model/exactness.cpp)
target_compile_definitions(test_exactness_notices_a_broken_order PRIVATE FLASHBACK_TEST_BREAK_R2)
set_tests_properties(exactness_notices_a_broken_order PROPERTIES PASS_REGULAR_EXPRESSION "logits differ from a from-scratch evaluation")
flashback_add_test(golden SOURCES model/golden.cpp)
flashback_add_test(golden_stories260K LABEL shared SOURCES model/golden_stories260K.cpp)

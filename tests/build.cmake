# What the build itself promises: the tests with the label `build`.
add_executable(test_umbrella build/umbrella_one.cpp build/umbrella_two.cpp)
target_link_libraries(test_umbrella PRIVATE flashback::native)
target_compile_options(test_umbrella PRIVATE $<$<CONFIG:Release>:-O0>)
set_target_properties(test_umbrella PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
add_test(NAME umbrella COMMAND test_umbrella)
add_test(NAME floors COMMAND ${CMAKE_COMMAND} -DINCLUDE_DIR=${PROJECT_SOURCE_DIR}/include -P ${CMAKE_CURRENT_SOURCE_DIR}/floors.cmake)
add_test(NAME floors_names COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/floors_names.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/floors.cmake)
add_test(NAME floors_notice COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/floors_notice.sh ${PROJECT_SOURCE_DIR})
add_test(NAME fwd COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/fwd.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
add_test(NAME fwd_notice COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/fwd_notice.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER})
add_test(NAME policy_only COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/policy_only.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR})
add_test(NAME retrieval_only COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/retrieval_only.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR})
if(CMAKE_CXX_COMPILER_ID STREQUAL Clang)  # no other compiler has -Weverything
  add_test(NAME every_warning COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/every_warning.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR})
  set_tests_properties(every_warning PROPERTIES LABELS "build;compilers" TIMEOUT 600)
endif()
set(mpi_options "")
if(TARGET flashback::mpi)
  set(mpi_options "-isystem${FLASHBACK_MPI_INCLUDE}")
endif()
set(include_options "-I$<JOIN:$<TARGET_PROPERTY:flashback,INTERFACE_INCLUDE_DIRECTORIES>,;-I>")
add_test(NAME headers_alone COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/headers_alone.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR}/include
         "${include_options}" ${mpi_options} "-isystem$<JOIN:$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>,;-isystem>"
         $<TARGET_PROPERTY:flashback_native,INTERFACE_COMPILE_OPTIONS> COMMAND_EXPAND_LISTS)
file(WRITE "${PROJECT_BINARY_DIR}/tests/include/flashback/lacks_one.hpp" "inline std::string empty() { return {}; }\n")
file(WRITE "${PROJECT_BINARY_DIR}/tests/include/flashback/lacks_none.hpp" "#include <string>\ninline std::string empty() { return {}; }\n")
add_test(NAME headers_alone_notices COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/headers_alone.sh ${CMAKE_CXX_COMPILER} ${PROJECT_BINARY_DIR}/tests/include)
set_tests_properties(headers_alone_notices PROPERTIES PASS_REGULAR_EXPRESSION "These headers do not compile alone: flashback/lacks_one.hpp\n")

# Every public name has a doc block, and Doxygen understands all of them.
if(FLASHBACK_DOXYGEN AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # no compiler has a part in it: one is enough
  add_test(NAME docs COMMAND ${FLASHBACK_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile)
  add_test(NAME docs_notice COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/docs_notice.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/Doxyfile ${FLASHBACK_DOXYGEN})
  set_tests_properties(docs docs_notice PROPERTIES LABELS build)
endif()

# Translation units for different processors in one program; and the same must fail where they have one name for everything.
set(odr bash ${CMAKE_CURRENT_SOURCE_DIR}/odr.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_test(NAME odr COMMAND ${odr})
  add_test(NAME odr_notices_a_shared_name COMMAND ${odr} -DFLASHBACK_ISA=same)
  set_tests_properties(odr_notices_a_shared_name PROPERTIES
    PASS_REGULAR_EXPRESSION "x86-64-O0 and x86-64-v2-O0 share [1-9][0-9]* symbols of flashback")
  set_property(TEST odr odr_notices_a_shared_name PROPERTY LABELS build slow)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_test(NAME amx_instructions COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/amx_instructions.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR})
  set_tests_properties(amx_instructions PROPERTIES LABELS "build;compilers")
endif()

# The library as others get it: tests/consumers has a project for each way.
if(FLASHBACK_INSTALL)
  add_test(NAME package COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/package.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}
                                ${CMAKE_CXX_COMPILER} ${CMAKE_GENERATOR})
  set_property(TEST package PROPERTY LABELS build)
  foreach(consumer "find_package policy" "find_package retrieval" "find_package once"
                   "add_subdirectory policy" "add_subdirectory retrieval" "add_subdirectory once")
    separate_arguments(consumer)
    list(JOIN consumer "_" name)
    add_test(NAME consumer_${name} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/consumers/run.sh ${consumer}
             ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER} ${CMAKE_GENERATOR})
    set_property(TEST consumer_${name} PROPERTY LABELS build)
  endforeach()
  # Without CMake: pkg-config and the single headers. Here a source compiles all of flashback that it uses; above it is compiled once.
  add_test(NAME consumer_plain COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/consumers/plain.sh ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
  add_test(NAME consumer_library COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/consumers/library.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER} ${CMAKE_GENERATOR})
  add_test(NAME consumer_vcpkg COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DWORK=${PROJECT_BINARY_DIR}/tests/vcpkg
           -DCOMPILER=${CMAKE_CXX_COMPILER} -DGENERATOR=${CMAKE_GENERATOR} -P ${CMAKE_CURRENT_SOURCE_DIR}/consumers/ports/vcpkg.cmake)
  add_test(NAME consumer_conan COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/consumers/ports/conan.py ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER} ${CMAKE_GENERATOR})
  set_tests_properties(consumer_plain consumer_library consumer_vcpkg consumer_conan PROPERTIES LABELS build TIMEOUT 600)
  # These compile most of the library again: a minute each.
  set_tests_properties(consumer_plain consumer_find_package_once consumer_add_subdirectory_once PROPERTIES LABELS "build;slow")
endif()

# A wrong policy is refused where it is named, in words: one test for each file of refusals/. What they include is compiled once.
set(refusals_header "${PROJECT_BINARY_DIR}/tests/refusals/first.hpp")
add_test(NAME refusals_header COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/refusals.sh --precompile ${refusals_header} ${CMAKE_CXX_COMPILER}
         "${include_options}" COMMAND_EXPAND_LISTS)
set_tests_properties(refusals_header PROPERTIES LABELS build TIMEOUT 600 FIXTURES_SETUP refusals_header)
file(GLOB refusals CONFIGURE_DEPENDS refusals/*.cpp)
foreach(refusal IN LISTS refusals)
  cmake_path(GET refusal STEM name)
  add_test(NAME refusal_${name} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/refusals.sh ${refusal} ${CMAKE_CXX_COMPILER} "${include_options}"
           -include ${refusals_header} COMMAND_EXPAND_LISTS)
  set_tests_properties(refusal_${name} PROPERTIES LABELS build TIMEOUT 600 FIXTURES_REQUIRED refusals_header)
endforeach()
add_test(NAME refusals_right COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/refusals_right.sh ${CMAKE_CURRENT_SOURCE_DIR}/refusals ${CMAKE_CXX_COMPILER}
         "${include_options}" COMMAND_EXPAND_LISTS)
add_test(NAME refusals_notice COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/refusals_notice.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CXX_COMPILER}
         -I${PROJECT_SOURCE_DIR}/include)
set_tests_properties(refusals_right refusals_notice PROPERTIES LABELS build TIMEOUT 600)

set_tests_properties(umbrella floors floors_names floors_notice fwd fwd_notice policy_only retrieval_only headers_alone headers_alone_notices PROPERTIES LABELS build TIMEOUT 600)
set_tests_properties(headers_alone PROPERTIES LABELS "build;slow" RUN_SERIAL ON)
set_tests_properties(policy_only retrieval_only PROPERTIES LABELS "build;compilers")

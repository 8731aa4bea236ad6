# flashback::native: how the project's own programs are built. Users of the library get none of this.
set(FLASHBACK_MARCH native CACHE STRING "Instruction set of our own programs (-march); the library asks for none")
add_library(flashback_native INTERFACE)
add_library(flashback::native ALIAS flashback_native)
target_link_libraries(flashback_native INTERFACE flashback::flashback)
if(FLASHBACK_MARCH)
  target_compile_options(flashback_native INTERFACE -march=${FLASHBACK_MARCH})
endif()
target_compile_options(flashback_native INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
                       -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Wunused -Woverloaded-virtual)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms of g++ 12 in std::string's operator+ (gcc.gnu.org PR 105651).
  target_compile_options(flashback_native INTERFACE -Wno-restrict)
  # False alarms of its own AVX-512 intrinsics (`__Y' may be used uninitialized, avx512fintrin.h).
  target_compile_options(flashback_native INTERFACE -Wno-maybe-uninitialized -Wno-uninitialized)
  # g++ 12.2 compiles std::vector<double>{0.5, 0.5, 0, 0} to four 0.5 with AVX-512 (-O2 and above): its SLP vectoriser
  # broadcasts the first pair over all four. Nothing that promises bits can be built with that.
  target_compile_options(flashback_native INTERFACE -fno-tree-slp-vectorize)
endif()
if(FLASHBACK_WARNINGS_AS_ERRORS)
  target_compile_options(flashback_native INTERFACE -Werror)
endif()

# Our own programs share what is compiled once.
flashback_compile_once(flashback_native)
# The presets that check compile without optimisation, which takes half the time or less; what all programs share is fast all the same.
string(FIND " ${CMAKE_CXX_FLAGS_RELWITHDEBINFO} " " -O0 " unoptimised)
set(once "${CMAKE_CURRENT_BINARY_DIR}/flashback_once")
if(CMAKE_BUILD_TYPE STREQUAL RelWithDebInfo AND unoptimised GREATER_EQUAL 0)
  set(FLASHBACK_UNOPTIMISED ON)
  set_property(SOURCE "${once}/kernels.cpp" APPEND PROPERTY COMPILE_OPTIONS -O2)
  set_property(SOURCE "${once}/files.cpp" "${once}/rest.cpp" APPEND PROPERTY COMPILE_OPTIONS -O1)
endif()
# The preset `release` asks for -O2, which compiles in three quarters of the time; all time of the programs goes into these. The preset `gcc`
# (FLASHBACK_ONCE_AS_RELEASE) tests them as `release` has them.
if(CMAKE_BUILD_TYPE STREQUAL Release OR FLASHBACK_ONCE_AS_RELEASE)
  set_property(SOURCE "${once}/kernels.cpp" "${once}/rest.cpp" APPEND PROPERTY COMPILE_OPTIONS -O3)
endif()
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=address")
  # Checked kernels are a hundred times slower; test_simd compiles its own, which are checked.
  set_property(SOURCE "${once}/kernels.cpp" APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=all -O2)
endif()

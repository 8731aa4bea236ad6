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

# Our own programs compile the kernels and the readers of files once: a dozen seconds less of each for a source, minutes under the sanitizers.
foreach(part IN ITEMS "kernels;simd/kernels.hpp" "readers;readers.hpp")
  list(GET part 0 name)
  list(GET part 1 header)
  set(source "${PROJECT_BINARY_DIR}/flashback_${name}.cpp")
  file(WRITE "${source}.new" "#include \"flashback/${header}\"\n")
  file(COPY_FILE "${source}.new" "${source}" ONLY_IF_DIFFERENT)
  add_library(flashback_${name} STATIC "${source}")
  target_compile_options(flashback_${name} PRIVATE $<TARGET_PROPERTY:flashback_native,INTERFACE_COMPILE_OPTIONS>)
  target_link_libraries(flashback_${name} PRIVATE flashback::flashback)
  string(TOUPPER "FLASHBACK_EXTERN_${name}" macro)
  target_compile_definitions(flashback_native INTERFACE ${macro})
  target_link_libraries(flashback_native INTERFACE flashback_${name})
endforeach()
# The presets that check compile without optimisation, which takes half the time or less; what all programs share is fast all the same.
string(FIND " ${CMAKE_CXX_FLAGS_RELWITHDEBINFO} " " -O0 " unoptimised)
if(CMAKE_BUILD_TYPE STREQUAL RelWithDebInfo AND unoptimised GREATER_EQUAL 0)
  set(FLASHBACK_UNOPTIMISED ON)
  target_compile_options(flashback_kernels PRIVATE -O2)
  target_compile_options(flashback_readers PRIVATE -O1)
endif()
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=address")
  # Checked kernels are a hundred times slower; test_simd compiles its own, which are checked.
  target_compile_options(flashback_kernels PRIVATE -fno-sanitize=all -O2)
endif()

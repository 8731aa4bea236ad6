# flashback_compile_once(TARGET): what TARGET uses of flashback, and does not depend on its types, is compiled once with the flags of
# TARGET, in place of once for each of its sources.
#
# An executable or a library gets the sources of compile_once.hpp as its own. An INTERFACE library, which several targets link for its
# flags, gets a static library TARGET_once that is compiled with them. Call it once for a target, after its flags are known. Targets that are
# linked into one program share one: for several libraries of a program, take an INTERFACE library with the flags of all. Also a part of the
# package.
function(flashback_compile_once target)
  if(NOT TARGET ${target})
    message(FATAL_ERROR "flashback_compile_once: there is no target \"${target}\"")
  elseif(NOT TARGET flashback::flashback)
    message(FATAL_ERROR "flashback_compile_once: flashback::flashback was not found; the policies alone need no compiling")
  endif()
  get_target_property(type ${target} TYPE)
  set(sources "")
  foreach(part IN ITEMS KERNELS FILES REST)
    string(TOLOWER "${part}" name)
    set(source "${CMAKE_CURRENT_BINARY_DIR}/flashback_once/${name}.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#define FLASHBACK_DETAIL_PART_${part}\n#include \"flashback/compile_once.hpp\"\n")
    list(APPEND sources "${source}")
  endforeach()
  set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
  if(type STREQUAL INTERFACE_LIBRARY)
    add_library(${target}_once STATIC ${sources})
    foreach(property IN ITEMS COMPILE_OPTIONS COMPILE_DEFINITIONS INCLUDE_DIRECTORIES)
      set_property(TARGET ${target}_once PROPERTY ${property} $<TARGET_PROPERTY:${target},INTERFACE_${property}>)
    endforeach()
    target_link_libraries(${target}_once PRIVATE flashback::flashback)
    target_compile_definitions(${target} INTERFACE FLASHBACK_COMPILED_ONCE)
    target_link_libraries(${target} INTERFACE ${target}_once)
  else()
    target_sources(${target} PRIVATE ${sources})
    target_compile_definitions(${target} PRIVATE FLASHBACK_COMPILED_ONCE)
  endif()
endfunction()

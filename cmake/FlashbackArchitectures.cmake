# flashback_add_architectures(TARGET SOURCES source... [ISAS isa...]): compiles the sources once for each instruction set and puts them all into the
# program or library TARGET, which takes the best at run time. The sources define the functions that FLASHBACK_ARCHITECTURES declares
# (flashback/core/architectures.hpp), in a namespace called FLASHBACK_ISA.
#
# ISAS are sse2, sse4, avx2, avx512, avx512_vnni and avx512_bf16, the plainest first; without them sse2, avx2 and avx512_bf16. On other
# processors than x86-64 there is one unit, with the flags of TARGET. The units have the flags, definitions and libraries of TARGET. Also a
# part of the package.
#
# The linker keeps the first of several copies of an inline function (of std, say). So TARGET itself is compiled for the plainest, and its units
# follow by rising instruction set: whatever one of them calls is its own copy or a plainer one.
function(flashback_add_architectures target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;ISAS")
  if(NOT TARGET ${target})
    message(FATAL_ERROR "flashback_add_architectures: there is no target \"${target}\"")
  elseif(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "flashback_add_architectures: expected a target, SOURCES source... and ISAS isa..., found ${ARGV}")
  elseif(NOT TARGET flashback::flashback)
    message(FATAL_ERROR "flashback_add_architectures: flashback::flashback was not found; the policies alone have no kernels")
  endif()
  set(known sse2 sse4 avx2 avx512 avx512_vnni avx512_bf16)
  set(options_sse2 -march=x86-64)
  set(options_sse4 -march=x86-64-v2)
  set(options_avx2 -march=x86-64-v3)
  set(options_avx512 -march=x86-64-v4)
  set(options_avx512_vnni -march=x86-64-v4 -mavx512vnni)
  set(options_avx512_bf16 -march=x86-64-v4 -mavx512vnni -mavx512bf16)
  if(NOT arg_ISAS)
    set(arg_ISAS sse2 avx2 avx512_bf16)
  endif()
  set(before -1)
  foreach(isa IN LISTS arg_ISAS)
    list(FIND known "${isa}" place)
    if(place LESS_EQUAL before)
      list(JOIN known ", " names)
      message(FATAL_ERROR "flashback_add_architectures: found \"${isa}\" in ISAS, expected names of ${names}, each once and in this order")
    endif()
    set(before ${place})
  endforeach()

  set(on_x86 ON)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(on_x86 OFF)
    set(arg_ISAS plain)
  endif()
  # Taken now: below, the options of the plainest are added to those of the target.
  get_target_property(own_options ${target} COMPILE_OPTIONS)
  foreach(isa IN LISTS arg_ISAS)
    set(unit ${target}_${isa})
    add_library(${unit} OBJECT ${arg_SOURCES})
    target_compile_features(${unit} PRIVATE cxx_std_20)
    set_target_properties(${unit} PROPERTIES UNITY_BUILD OFF
      POSITION_INDEPENDENT_CODE $<BOOL:$<TARGET_PROPERTY:${target},POSITION_INDEPENDENT_CODE>>)
    target_include_directories(${unit} PRIVATE $<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>)
    target_compile_definitions(${unit} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
    target_link_libraries(${unit} PRIVATE flashback::flashback $<TARGET_PROPERTY:${target},LINK_LIBRARIES>)
    if(own_options)
      target_compile_options(${unit} PRIVATE ${own_options})
    endif()
    target_compile_options(${unit} PRIVATE ${options_${isa}} -UFLASHBACK_COMPILED_ONCE)
    if(on_x86)
      string(TOUPPER "${isa}" name)
      target_compile_definitions(${target} PRIVATE FLASHBACK_ARCHITECTURE_${name})
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${unit}>)
  endforeach()
  list(GET arg_ISAS 0 plainest)
  target_compile_options(${target} PRIVATE ${options_${plainest}})
endfunction()

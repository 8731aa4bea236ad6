# A dependency provider (CMAKE_PROJECT_TOP_LEVEL_INCLUDES) that sees every call of find_package and lets only flashback pass.
cmake_minimum_required(VERSION 3.25)
macro(only_flashback method package)
  if(NOT "${package}" STREQUAL "flashback")
    message(FATAL_ERROR "find_package(${package}) was called by somebody who should look for flashback only")
  endif()
endmacro()
cmake_language(SET_DEPENDENCY_PROVIDER only_flashback SUPPORTED_METHODS FIND_PACKAGE)

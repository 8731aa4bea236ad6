# flashback::xsimd: the headers of xsimd, if they are found. Its own target has no namespace where it is installed (and one in
# its build tree), and asks for the library xtl, which is not needed and which Debian's package does not install. Also used by
# the package config.
if(NOT TARGET flashback::xsimd)
  if(NOT TARGET xsimd AND NOT TARGET xsimd::xsimd)  # a parent project may have its own
    find_package(xsimd 8.1 QUIET)
  endif()
  foreach(flashback_xsimd_target IN ITEMS xsimd::xsimd xsimd)
    if(TARGET ${flashback_xsimd_target} AND NOT TARGET flashback::xsimd)
      get_target_property(flashback_xsimd_include ${flashback_xsimd_target} INTERFACE_INCLUDE_DIRECTORIES)
      add_library(flashback::xsimd INTERFACE IMPORTED)
      target_include_directories(flashback::xsimd INTERFACE ${flashback_xsimd_include})
    endif()
  endforeach()
endif()

# flashback::xsimd: the headers of xsimd. Its own target has no namespace where it is installed (and one in its build tree), and
# asks for the library xtl, which is not needed and which Debian's package does not install. Also used by the package config.
if(NOT TARGET flashback::xsimd)
  find_package(xsimd 8.1 REQUIRED)
  set(flashback_xsimd_target xsimd)
  if(TARGET xsimd::xsimd)
    set(flashback_xsimd_target xsimd::xsimd)
  endif()
  get_target_property(flashback_xsimd_include ${flashback_xsimd_target} INTERFACE_INCLUDE_DIRECTORIES)
  add_library(flashback::xsimd INTERFACE IMPORTED)
  target_include_directories(flashback::xsimd INTERFACE ${flashback_xsimd_include})
endif()

# flashback::xsimd: xsimd's target has no namespace where it is installed, and one in its build tree.
if(NOT TARGET flashback::xsimd)
  find_package(xsimd 8.1 REQUIRED)
  if(TARGET xsimd::xsimd)
    add_library(flashback::xsimd ALIAS xsimd::xsimd)
  else()
    add_library(flashback::xsimd ALIAS xsimd)
  endif()
endif()

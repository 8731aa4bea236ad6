# flashback::native: how the project's own programs are built. Users of the library get none of this.
add_library(flashback_native INTERFACE)
add_library(flashback::native ALIAS flashback_native)
target_link_libraries(flashback_native INTERFACE flashback::flashback)
if(FLASHBACK_MARCH)
  target_compile_options(flashback_native INTERFACE -march=${FLASHBACK_MARCH})
endif()
target_compile_options(flashback_native INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
                       -Wnon-virtual-dtor -Wold-style-cast -Wcast-align -Wunused -Woverloaded-virtual)
if(FLASHBACK_WARNINGS_AS_ERRORS)
  target_compile_options(flashback_native INTERFACE -Werror)
endif()

# flashback::xapian: flashback::flashback and the library Xapian, for flashback/interop/xapian.hpp; only where Xapian is found. Also
# used by the package config.
if(NOT TARGET flashback::xapian)
  find_path(FLASHBACK_XAPIAN_INCLUDE xapian.h)
  find_library(FLASHBACK_XAPIAN_LIBRARY xapian)
  mark_as_advanced(FLASHBACK_XAPIAN_INCLUDE FLASHBACK_XAPIAN_LIBRARY)
  if(FLASHBACK_XAPIAN_INCLUDE AND FLASHBACK_XAPIAN_LIBRARY)
    add_library(flashback::xapian INTERFACE IMPORTED GLOBAL)
    target_include_directories(flashback::xapian INTERFACE "${FLASHBACK_XAPIAN_INCLUDE}")
    target_link_libraries(flashback::xapian INTERFACE flashback::flashback "${FLASHBACK_XAPIAN_LIBRARY}")
  endif()
endif()

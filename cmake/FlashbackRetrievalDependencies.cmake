# Finds what flashback::retrieval links to, and lists in flashback_retrieval_missing what is not there. Makes flashback::english, what
# flashback/retrieval/english.hpp needs, if libstemmer is there. Also used by the package config.
# A target that a parent project has already is taken as it is.
set(flashback_retrieval_missing "")
# flashback::ranges: the headers of range-v3. Its own target asks for compiler options, which no custom command can read.
if(NOT TARGET range-v3 AND NOT TARGET range-v3::range-v3)
  find_package(range-v3 QUIET)  # without a version: its package knows its own only
endif()
foreach(flashback_ranges_target IN ITEMS range-v3 range-v3::range-v3)  # Conan's package has the second only, and no folder in it
  if(TARGET ${flashback_ranges_target} AND NOT TARGET flashback::ranges)
    get_target_property(flashback_ranges_include ${flashback_ranges_target} INTERFACE_INCLUDE_DIRECTORIES)
    add_library(flashback::ranges INTERFACE IMPORTED)
    if(flashback_ranges_include)
      target_include_directories(flashback::ranges INTERFACE ${flashback_ranges_include})
    else()
      target_link_libraries(flashback::ranges INTERFACE ${flashback_ranges_target})
    endif()
  endif()
endforeach()
find_package(Threads QUIET)
if(NOT TARGET flashback::ranges)
  list(APPEND flashback_retrieval_missing "range-v3")
endif()
if(NOT TARGET Threads::Threads)
  list(APPEND flashback_retrieval_missing "Threads")
endif()
if(NOT TARGET flashback::english)
  find_path(FLASHBACK_STEMMER_INCLUDE libstemmer.h)
  find_library(FLASHBACK_STEMMER_LIBRARY stemmer)
  mark_as_advanced(FLASHBACK_STEMMER_INCLUDE FLASHBACK_STEMMER_LIBRARY)
  if(FLASHBACK_STEMMER_INCLUDE AND FLASHBACK_STEMMER_LIBRARY)
    add_library(flashback::english INTERFACE IMPORTED GLOBAL)  # for parent projects, which name it
    target_include_directories(flashback::english INTERFACE "${FLASHBACK_STEMMER_INCLUDE}")
    target_link_libraries(flashback::english INTERFACE flashback::retrieval "${FLASHBACK_STEMMER_LIBRARY}")
  endif()
endif()
list(JOIN flashback_retrieval_missing ", " flashback_retrieval_missing)

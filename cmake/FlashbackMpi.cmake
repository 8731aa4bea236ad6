# flashback::mpi: flashback::policy and a library of MPI, for flashback/interop/mpi.hpp; only where one is found. Also used by the
# package config.
if(NOT TARGET flashback::mpi)
  find_path(FLASHBACK_MPI_INCLUDE mpi.h PATH_SUFFIXES mpi openmpi openmpi-x86_64)
  find_library(FLASHBACK_MPI_LIBRARY mpi PATH_SUFFIXES openmpi openmpi/lib)
  mark_as_advanced(FLASHBACK_MPI_INCLUDE FLASHBACK_MPI_LIBRARY)
  if(FLASHBACK_MPI_INCLUDE AND FLASHBACK_MPI_LIBRARY)
    add_library(flashback::mpi INTERFACE IMPORTED GLOBAL)
    target_include_directories(flashback::mpi INTERFACE "${FLASHBACK_MPI_INCLUDE}")
    target_link_libraries(flashback::mpi INTERFACE flashback::policy "${FLASHBACK_MPI_LIBRARY}")
  endif()
endif()

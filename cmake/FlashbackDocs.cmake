# flashback_docs: the documentation of all public names, in docs/html of the build folder. The test `docs` makes it, too, and fails on a name
# without a doc block. Where doxygen is absent there is neither.
find_program(FLASHBACK_DOXYGEN doxygen)
if(FLASHBACK_DOXYGEN)
  set(FLASHBACK_DOCS_SOURCE "${PROJECT_SOURCE_DIR}")
  set(FLASHBACK_DOCS "${PROJECT_BINARY_DIR}/docs")
  configure_file("${CMAKE_CURRENT_LIST_DIR}/Doxyfile.in" "${PROJECT_BINARY_DIR}/Doxyfile" @ONLY)
  add_custom_target(flashback_docs COMMAND "${FLASHBACK_DOXYGEN}" "${PROJECT_BINARY_DIR}/Doxyfile" VERBATIM
                    COMMENT "Documentation: ${FLASHBACK_DOCS}/html/index.html")
else()
  message(STATUS "flashback: doxygen was not found, so there is no target flashback_docs and no test of the documentation")
endif()

# Installs three components, flashback_policy, flashback_retrieval and flashback, each with its headers and its CMake targets. Each needs
# those before it; the package config goes with the first. It lies in share/ because nothing in it depends on the architecture.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(flashback_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/flashback")

set_target_properties(flashback_policy PROPERTIES EXPORT_NAME policy)
set_target_properties(flashback_retrieval PROPERTIES EXPORT_NAME retrieval)
foreach(target IN ITEMS flashback_policy flashback_retrieval flashback)
  install(TARGETS ${target} EXPORT ${target}_targets FILE_SET HEADERS COMPONENT ${target})
  install(EXPORT ${target}_targets FILE ${target}_targets.cmake NAMESPACE flashback:: DESTINATION "${flashback_package_dir}"
          COMPONENT ${target})
endforeach()

# While the version is 0.x, each minor version may break what the one before it promised.
set(flashback_compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(flashback_compatibility SameMinorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/flashbackConfigVersion.cmake" COMPATIBILITY ${flashback_compatibility}
                                 ARCH_INDEPENDENT)
install(FILES cmake/flashbackConfig.cmake "${PROJECT_BINARY_DIR}/flashbackConfigVersion.cmake"
        DESTINATION "${flashback_package_dir}" COMPONENT flashback_policy)
install(FILES cmake/FlashbackRetrievalDependencies.cmake
        DESTINATION "${flashback_package_dir}" COMPONENT flashback_retrieval)
install(FILES cmake/FlashbackCompileOnce.cmake cmake/FlashbackDependencies.cmake cmake/FlashbackXapian.cmake cmake/FlashbackXsimd.cmake
        DESTINATION "${flashback_package_dir}" COMPONENT flashback)
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/flashback" COMPONENT flashback_policy)

# Installs three components, flashback_policy, flashback_retrieval and flashback, each with its headers, its CMake targets and its file for
# pkg-config. Each needs those before it; the package config goes with the first. All of it lies in share/ because nothing in it depends
# on the architecture.
#
# Without FLASHBACK_INSTALL only who names a component gets it. The rules are there all the same, because a project that has
# flashback as a folder may export targets that link it, and CMake refuses that if flashback is in no export set.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(flashback_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/flashback")
set(flashback_only_named "")
if(NOT FLASHBACK_INSTALL)
  set(flashback_only_named EXCLUDE_FROM_ALL)
endif()

set_target_properties(flashback_policy PROPERTIES EXPORT_NAME policy)
set_target_properties(flashback_retrieval PROPERTIES EXPORT_NAME retrieval)
foreach(target IN ITEMS flashback_policy flashback_retrieval flashback)
  install(TARGETS ${target} EXPORT ${target}_targets FILE_SET HEADERS COMPONENT ${target} ${flashback_only_named})
  install(EXPORT ${target}_targets FILE ${target}_targets.cmake NAMESPACE flashback:: DESTINATION "${flashback_package_dir}"
          COMPONENT ${target} ${flashback_only_named})
  export(EXPORT ${target}_targets FILE "${PROJECT_BINARY_DIR}/${target}_targets.cmake" NAMESPACE flashback::)  # for export() of such a project
endforeach()

# pkg-config: flashback-policy, flashback-retrieval and flashback. The prefix is where the file lies, so the folder can be moved.
set(flashback_pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}")
  file(RELATIVE_PATH flashback_pc_prefix "/${CMAKE_INSTALL_DATADIR}/pkgconfig" "/")
  string(PREPEND flashback_pc_prefix "\${pcfiledir}/")
endif()
set(flashback_pc_include "${CMAKE_INSTALL_INCLUDEDIR}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  string(PREPEND flashback_pc_include "\${prefix}/")
endif()
# flashback_pkg_config(COMPONENT DESCRIPTION REQUIRES FLAGS). Debian's range-v3 has no file for pkg-config; its headers lie in /usr/include.
function(flashback_pkg_config component description requires flags)
  string(REPLACE "_" "-" name "${component}")
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY CONTENT "prefix=@flashback_pc_prefix@
includedir=@flashback_pc_include@

Name: @name@
Description: @description@ (C++20, headers only)
Version: @PROJECT_VERSION@
Requires: @requires@
Cflags: -I\${includedir}@flags@
Libs:@flags@
")
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig" COMPONENT ${component} ${flashback_only_named})
endfunction()
flashback_pkg_config(flashback_policy "Decoding policies for retrieval-augmented generation" "" "")
flashback_pkg_config(flashback_retrieval "Search for retrieval-augmented generation" "flashback-policy" " -pthread")
flashback_pkg_config(flashback "Retrieval-augmented generation around a fast CPU transformer" "flashback-retrieval, nlohmann_json >= 3.11, xsimd >= 8.1" "")

# While the version is 0.x, each minor version may break what the one before it promised.
set(flashback_compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(flashback_compatibility SameMinorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/flashbackConfigVersion.cmake" COMPATIBILITY ${flashback_compatibility}
                                 ARCH_INDEPENDENT)
install(FILES cmake/flashbackConfig.cmake "${PROJECT_BINARY_DIR}/flashbackConfigVersion.cmake"
        DESTINATION "${flashback_package_dir}" COMPONENT flashback_policy ${flashback_only_named})
install(FILES cmake/FlashbackRetrievalDependencies.cmake
        DESTINATION "${flashback_package_dir}" COMPONENT flashback_retrieval ${flashback_only_named})
install(FILES cmake/FlashbackArchitectures.cmake cmake/FlashbackCompileOnce.cmake cmake/FlashbackDependencies.cmake cmake/FlashbackLlamaCpp.cmake cmake/FlashbackMpi.cmake cmake/FlashbackXapian.cmake
              cmake/FlashbackXsimd.cmake
        DESTINATION "${flashback_package_dir}" COMPONENT flashback ${flashback_only_named})
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/flashback" COMPONENT flashback_policy ${flashback_only_named})

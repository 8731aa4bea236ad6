# An overlay port: it installs the sources in whose cmake/vcpkg it lies. `vcpkg install flashback --overlay-ports=.../cmake/vcpkg`; the policies
# alone are `flashback[core]`.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # headers only

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS -DFLASHBACK_BUILD_EXAMPLES=OFF -DFLASHBACK_BUILD_TESTS=OFF -DFLASHBACK_BUILD_BENCHMARKS=OFF -DFLASHBACK_INSTALL=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/flashback)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")

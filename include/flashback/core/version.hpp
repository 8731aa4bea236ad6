/// \file The version of the library; CMakeLists.txt reads it from here.
#pragma once

/// The first number of the version.
#define FLASHBACK_VERSION_MAJOR 0
/// The second number of the version: while the first is 0, another one may break programs.
#define FLASHBACK_VERSION_MINOR 1
/// The third number of the version.
#define FLASHBACK_VERSION_PATCH 0
/// The version as text, e.g. "0.1.0".
#define FLASHBACK_VERSION "0.1.0"

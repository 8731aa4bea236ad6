/// \file The version of the library; CMakeLists.txt reads it from here.
#pragma once

#define FLASHBACK_VERSION_MAJOR 0
#define FLASHBACK_VERSION_MINOR 1
#define FLASHBACK_VERSION_PATCH 0
/// The version as text, e.g. "0.1.0".
#define FLASHBACK_VERSION "0.1.0"

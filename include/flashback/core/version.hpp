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

/// Whether the library has this version or a later one: `#if FLASHBACK_VERSION_AT_LEAST(0, 2, 0)`.
#define FLASHBACK_VERSION_AT_LEAST(major, minor, patch) \
    (FLASHBACK_VERSION_MAJOR > (major) ||               \
     (FLASHBACK_VERSION_MAJOR == (major) &&             \
      (FLASHBACK_VERSION_MINOR > (minor) || (FLASHBACK_VERSION_MINOR == (minor) && FLASHBACK_VERSION_PATCH >= (patch)))))

/// Stands before a name that will go away: `FLASHBACK_DEPRECATED("use plan_context")`. Whoever uses the name is warned with the sentence.
/// Requires  the sentence says what to use instead; CONTRIBUTING.md says how long the name stays
#define FLASHBACK_DEPRECATED(sentence) [[deprecated("flashback: " sentence)]]

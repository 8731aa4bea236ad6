/// \file Whether a sanitizer slows this program down.
#pragma once

namespace flashback_test {

/// Tests that take long repeat themselves less often then: the sanitizer has seen the code.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

}  // namespace flashback_test

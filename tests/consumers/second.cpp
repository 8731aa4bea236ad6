// A second source of the same program, which becomes one with the first in a unity build.
#include <flashback/core/version.hpp>
#include <flashback/policy/layout.hpp>

int second();
int second() { return flashback::ContextLayout<flashback::PrependPassages> ? FLASHBACK_VERSION_MAJOR : 1; }

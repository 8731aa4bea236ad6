// Refused: flashback: any_of and all_of need at least one schedule
#include "generate.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const auto schedule = any_of();
#else
    const auto schedule = any_of(Once{});
#endif
    generate_with(Policies{}.schedule(schedule));
}

// Refused: flashback: the detokenizer of StopStrings must be callable as detokenize(TokenId) and return text
#include "flashback/policy/policies.hpp"

using namespace flashback;

int main() {
#ifdef WRONG
    const StopStrings stopping{{"end"}, [](TokenId token) { return token; }};
#else
    const StopStrings stopping{{"end"}, [](TokenId token) { return std::to_string(token); }};
#endif
    static_cast<void>(Policies{}.stopping(stopping));
}

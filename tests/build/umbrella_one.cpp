// The umbrella in two translation units of one program: everything in it is inline or a template.
#include <flashback/fwd.hpp>

// What fwd.hpp declares must agree with what follows.
#include <flashback/flashback.hpp>

flashback::TokenId greedy_of_the_other_unit(std::span<const float> logits);

int main() {
    const float logits[] = {0.0f, 2.0f, 1.0f};
    return flashback::Greedy{}(logits) == greedy_of_the_other_unit(logits) ? 0 : 1;
}

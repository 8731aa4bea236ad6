#include <flashback/flashback.hpp>

flashback::TokenId greedy_of_the_other_unit(std::span<const float> logits) { return flashback::Greedy{}(logits); }

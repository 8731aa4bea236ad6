// Refused: flashback: begin of a DocumentFusion is called as begin(std::span<const float> scores) when other passages are found: this one cannot be
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : MeanOfLogits {
    void begin(double score);
};

struct Right : MeanOfLogits {
    void begin(std::span<const float> scores);
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.fusion(Wrong{});
#else
    const auto policies = Policies{}.fusion(Right{});
#endif
    static_cast<void>(policies);
}

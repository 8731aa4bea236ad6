// Refused: flashback: a DocumentFusion must have, const, groups(std::size_t passages, std::vector<PassageGroup>& out), and, if that can give more than one group, be callable as fusion(const LogitRows&, std::span<float> out)
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    std::size_t groups(std::size_t passages) const { return passages; }
};

struct Right {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { out.push_back({0, passages}); }
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.fusion(Wrong{});
#else
    const auto policies = Policies{}.fusion(Right{});
#endif
    static_cast<void>(policies);
}

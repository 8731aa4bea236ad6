// Refused: flashback: a DocumentFusion must have, const, groups(std::size_t passages, std::vector<PassageGroup>& out), and, if that can give more than one group, be callable as fusion(const LogitRows&, std::span<float> out)
#include "flashback/policy/any_fusion.hpp"

using namespace flashback;

struct Wrong {
    void groups(std::size_t passages) const;
};

struct Right {
    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { out.push_back({0, passages}); }
};

int main() {
#ifdef WRONG
    const AnyFusion policies{Wrong{}};
#else
    const AnyFusion policies{Right{}};
#endif
    static_cast<void>(policies);
}

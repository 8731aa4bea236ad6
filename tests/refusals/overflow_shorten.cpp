// Refused: flashback: shorten of an Overflow must be const, callable as shorten(const FullWindow&), and return the number of tokens that passages lose, as std::size_t
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong : StopWhenFull {
    bool shorten(std::size_t tokens) const;
};

struct Right : StopWhenFull {
    std::size_t shorten(const FullWindow& full) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.overflow(Wrong{});
#else
    const auto policies = Policies{}.overflow(Right{});
#endif
    static_cast<void>(policies);
}

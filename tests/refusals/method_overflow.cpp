// Refused: flashback: overflow of a method must be const, and callable as an Overflow is
#include "flashback/policy/policies.hpp"

using namespace flashback;

struct Wrong {
    int overflow(const FullWindow& full) const;
};

struct Right {
    std::size_t overflow(const FullWindow& full) const;
};

int main() {
#ifdef WRONG
    const auto policies = Policies{}.method(Wrong{});
#else
    const auto policies = Policies{}.method(Right{});
#endif
    static_cast<void>(policies);
}

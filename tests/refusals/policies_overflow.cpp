// Refused: flashback: the policies of a Decoder are a Policies, or have its members, with policies that fit: schedule, query, wrapper, layout, reuse, sampler, overflow, stopping, reset, rewind, wants_surprisals
#include "generate.hpp"

using namespace flashback;

/// Policies of one's own.
struct Wrong : Policies<> {
    auto overflow() const {
        return [](const FullWindow&) { return -1; };
    }
};

struct Right : Policies<> {
    auto overflow() const {
        return [](const FullWindow&) { return std::size_t{0}; };
    }
};

int main() {
#ifdef WRONG
    generate_with(Wrong{});
#else
    generate_with(Right{});
#endif
}

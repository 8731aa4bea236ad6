// Compiled several times, each time with other options and therefore with another FLASHBACK_ISA of its own.
#include "flashback/model/session.hpp"
#include "support/random_model.hpp"

#include <bit>
#include <cstdint>

namespace flashback_test {

std::uint64_t FLASHBACK_TEST_HASH() {
    std::uint64_t hash = 0;
    for (const std::size_t head_dim : {6u, 64u}) {
        const RandomModel shape{.width = 40, .head_dim = head_dim, .hidden = 300, .vocab = 90, .seed = head_dim};
        flashback::SplitMix64 random{9};
        flashback::Session session{random_model(shape)};
        for (const float logit : session.evaluate_all(random_tokens(random, 150, shape.vocab))) {
            hash = flashback::SplitMix64{hash ^ std::bit_cast<std::uint32_t>(logit)}.next();
        }
    }
    return hash;
}

}  // namespace flashback_test

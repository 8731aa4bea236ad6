#include <cstdint>

#include <doctest/doctest.h>

namespace flashback_test {
std::uint64_t hash_as_built();
std::uint64_t hash_contract_off();
std::uint64_t hash_contract_fast();
std::uint64_t hash_o0();
std::uint64_t hash_narrower();
std::uint64_t hash_portable();
std::uint64_t hash_broken_order();
}  // namespace flashback_test

using namespace flashback_test;

TEST_CASE("The logits have the same bits at every level of optimisation and contraction") {
    const std::uint64_t expected = hash_as_built();
    CHECK(hash_contract_off() == expected);
    CHECK(hash_contract_fast() == expected);
}

TEST_CASE("The logits have the same bits without optimisation") { CHECK(hash_o0() == hash_as_built()); }

TEST_CASE("Registers of any width, down to a single float, give the same bits") {
    CHECK(hash_narrower() == hash_as_built());
    CHECK(hash_portable() == hash_as_built());
}

TEST_CASE("The hash of the logits notices sums in another order") { CHECK(hash_broken_order() != hash_as_built()); }

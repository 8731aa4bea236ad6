#include "flashback/policy/decision.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

static_assert(std::convertible_to<bool, Decision> && std::is_trivially_copyable_v<Decision>);
static_assert(std::is_nothrow_constructible_v<Decision, bool> && !std::is_default_constructible_v<Decision>);
static_assert(noexcept(either(Decision::stop(), Decision::stop())) && noexcept(both(Decision::stop(), Decision::stop())));
static_assert(either(Decision::retrieve(2), true) == Decision::retrieve(2), "bools mix with decisions at compile time");

/// Every kind, and those that take tokens back with different numbers of them.
std::vector<Decision> every_decision() {
    std::vector<Decision> all{Decision::go_on(), Decision::prefetch(), Decision::stop()};
    for (const std::size_t rewind : {std::size_t{0}, std::size_t{1}, std::size_t{2}, static_cast<std::size_t>(-1)}) {
        all.push_back(Decision::retrieve(rewind));
        all.push_back(Decision::drop_passages(rewind));
    }
    return all;
}

/// 0 goes on, 1 prefetches, 2 drops passages, 3 retrieves, 4 stops.
int strength(Decision decision) {
    return decision.stops() ? 4 : decision.retrieves() ? 3 : decision.drops_passages() ? 2 : decision.prefetches() ? 1 : 0;
}

template <class Combine>
void check_semilattice(const Combine& combine, Decision neutral, Decision absorbing) {
    for (const Decision a : every_decision()) {
        CHECK(combine(a, a) == a);
        CHECK(combine(a, neutral) == a);
        CHECK(combine(a, absorbing) == absorbing);
        for (const Decision b : every_decision()) {
            CHECK(combine(a, b) == combine(b, a));
            for (const Decision c : every_decision()) CHECK(combine(combine(a, b), c) == combine(a, combine(b, c)));
        }
    }
}

}  // namespace

TEST_CASE("a bool retrieves or goes on, and takes nothing back") {
    CHECK(Decision{true} == Decision::retrieve());
    CHECK(Decision{true} == Decision::retrieve(0));
    CHECK(Decision{false} == Decision::go_on());
    CHECK(Decision{true}.rewind() == 0);
}

TEST_CASE("a decision is exactly one of five kinds, and only those that plan again take tokens back") {
    const auto is = [](Decision decision, bool prefetches, bool drops, bool retrieves, bool stops) {
        return decision.prefetches() == prefetches && decision.drops_passages() == drops && decision.retrieves() == retrieves &&
               decision.stops() == stops;
    };
    CHECK((is(Decision::go_on(), false, false, false, false) && Decision::go_on().rewind() == 0));
    CHECK((is(Decision::prefetch(), true, false, false, false) && Decision::prefetch().rewind() == 0));
    CHECK((is(Decision::drop_passages(7), false, true, false, false) && Decision::drop_passages(7).rewind() == 7));
    CHECK((is(Decision::retrieve(7), false, false, true, false) && Decision::retrieve(7).rewind() == 7));
    CHECK((is(Decision::stop(), false, false, false, true) && Decision::stop().rewind() == 0));
    const std::vector<Decision> all = every_decision();
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = 0; j < all.size(); ++j) CHECK((all[i] == all[j]) == (i == j));
    }
}

TEST_CASE("either and both are semilattices with a neutral and an absorbing decision") {
    check_semilattice([](Decision a, Decision b) { return either(a, b); }, Decision::go_on(), Decision::stop());
    check_semilattice([](Decision a, Decision b) { return both(a, b); }, Decision::stop(), Decision::go_on());
}

TEST_CASE("as far as the kinds go, either is the maximum, both the minimum, and each absorbs and distributes over the other") {
    for (const Decision a : every_decision()) {
        for (const Decision b : every_decision()) {
            CHECK(strength(either(a, b)) == std::max(strength(a), strength(b)));
            CHECK(strength(both(a, b)) == std::min(strength(a), strength(b)));
            CHECK(strength(either(a, both(a, b))) == strength(a));
            CHECK(strength(both(a, either(a, b))) == strength(a));
            for (const Decision c : every_decision()) {
                CHECK(strength(either(a, both(b, c))) == strength(both(either(a, b), either(a, c))));
                CHECK(strength(both(a, either(b, c))) == strength(either(both(a, b), both(a, c))));
            }
        }
    }
}

TEST_CASE("of two retrievals the one that takes back more is taken, and what does not retrieve takes nothing back") {
    CHECK(either(Decision::retrieve(3), Decision::retrieve(5)) == Decision::retrieve(5));
    CHECK(both(Decision::retrieve(3), Decision::retrieve(5)) == Decision::retrieve(5));
    CHECK(either(Decision::go_on(), Decision::retrieve(5)) == Decision::retrieve(5));
    CHECK(both(Decision::stop(), Decision::retrieve(5)) == Decision::retrieve(5));
    CHECK(either(Decision::stop(), Decision::retrieve(5)).rewind() == 0);
    CHECK(both(Decision::go_on(), Decision::retrieve(5)).rewind() == 0);
}

#include "flashback/core/architectures.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_architectures {

FLASHBACK_ARCHITECTURES(doubled, int(int x));
int FLASHBACK_ISA::doubled(int x) { return 2 * x; }

std::string plain(std::string text) { return "plain: " + text; }
std::string other(std::string text) { return "other: " + text; }

}  // namespace test_core_architectures

TEST_CASE("a program without units for single processors has one, with its own flags") {
    using test_core_architectures::doubled;
    CHECK(doubled(21) == 42);
    REQUIRE(doubled.end() - doubled.begin() == 1);
    CHECK(doubled.best().isa == FLASHBACK_ISA_NAME);
}

TEST_CASE("the best unit is the last one that this processor can run, whatever stands behind it") {
    using Function = flashback::PerArchitecture<std::string(std::string)>;
    const Function first{{{"none", &test_core_architectures::plain}, {"pdp11", &test_core_architectures::other}}};
    CHECK(first("a") == "plain: a");
    CHECK_FALSE(flashback::runs_here("pdp11"));
    CHECK_FALSE(flashback::runs_here(""));
#if defined(__x86_64__)
    const Function second{{{"none", &test_core_architectures::plain},
                           {"sse2", &test_core_architectures::other},
                           {"pdp11", &test_core_architectures::plain}}};
    CHECK(second("a") == "other: a");
    CHECK(flashback::runs_here("sse2_noexcept"));
    CHECK(flashback::runs_here("avx2_as_amx_noexcept") == flashback::runs_here("avx2"));
    // A processor that has one of these has all in front of it.
    bool before = true;
    for (const char* isa : {"sse2", "sse4", "avx", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"}) {
        const bool here = flashback::runs_here(isa);
        CHECK((before || !here));
        before = here;
    }
#if defined(__AVX512F__)
    CHECK(flashback::runs_here("avx512"));
#endif
#if defined(__AVX2__) && defined(__FMA__)
    CHECK(flashback::runs_here("avx2"));
#endif
#endif
}

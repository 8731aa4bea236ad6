// That peaks are measured and make sense; how high they are is a matter of the machine.
#include "flashback/measure/machine_peaks.hpp"

#include "flashback/core/thread_pool.hpp"

#include <cmath>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("Peaks are numbers above 0, for any number of threads and any amount of memory") {
    for (const std::size_t threads : {1u, 2u}) {
        ThreadPool pool{threads};
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1000}, std::size_t{3} << 20}) {
            const MachinePeaks peaks = measure_peaks(pool, {.seconds = 0, .bytes = bytes});
            CHECK(peaks.threads == threads);
            CHECK((peaks.f32 > 0 && std::isfinite(peaks.f32)));
            CHECK((peaks.read > 0 && std::isfinite(peaks.read)));
            if (peaks.bf16) CHECK(*peaks.bf16 > 0);
            if (peaks.int8) CHECK(*peaks.int8 > 0);
        }
    }
}

TEST_CASE("Peaks of instructions that this translation unit may not use are absent") {
    const ExecutorRef serial;
#if defined(FLASHBACK_SIMD_AMX)
    // Their software twin is no peak.
    CHECK(bf16_peak(serial, 0).has_value() == (simd::tiles().use == simd::TileUse::tiles));
#elif !defined(__AVX512BF16__)
    CHECK_FALSE(bf16_peak(serial, 0).has_value());
#endif
#if defined(FLASHBACK_SIMD_INT_LOOPS)
    CHECK_FALSE(int8_peak(serial, 0).has_value());
#else
    CHECK(int8_peak(serial, 0).has_value());
#endif
    CHECK(f32_peak(serial, 0) > 0);
}

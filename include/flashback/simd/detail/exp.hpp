/// \file The exponential of the forward path, 16 at a time.
#pragma once

#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// e^x in every lane, to within 2 units in the last place; 0 below -87.3365 (the result is subnormal there, or almost),
/// infinity above 88.7228, NaN for NaN. The bits are those of testing::plain::exp.
/// Source    Cody and Waite 1980, Software manual for the elementary functions, chapter 6 (argument reduction); the polynomial
///           is that of Cephes' expf
FLASHBACK_SIMD_INLINE Lanes exp(const Lanes& x) noexcept {
    const Lanes lowest = Lanes::all(-87.3365f);
    const Lanes highest = Lanes::all(88.7228f);
    const Lanes to_integer = Lanes::all(0x1.8p23f);  // adding it leaves the rounded integer in the lowest bits of the fraction
    const Lanes bounded = where_less(x, lowest, lowest, where_less(highest, x, highest, x));
    const Lanes shifted = fma(bounded, Lanes::all(0x1.715476p0f), to_integer);
    const Lanes n = shifted - to_integer;
    Lanes r = fma(n, Lanes::all(-0x1.62e4p-1f), bounded);  // ln 2 in two parts; n times the first is exact
    r = fma(n, Lanes::all(-0x1.7f7d1cp-20f), r);

    Lanes p = Lanes::all(1.9875691500e-4f);
    p = fma(p, r, Lanes::all(1.3981999507e-3f));
    p = fma(p, r, Lanes::all(8.3334519073e-3f));
    p = fma(p, r, Lanes::all(4.1665795894e-2f));
    p = fma(p, r, Lanes::all(1.6666665459e-1f));
    p = fma(p, r, Lanes::all(5.0000001201e-1f));
    p = fma(p, r * r, r) + Lanes::all(1.0f);

    // Both ends of the range stay within the normal numbers: p >= 1 at the lowest n, -126, and p < 1 at the highest, 128.
    const Lanes y = detail::add_to_exponent(p, shifted);
    const Lanes low = where_less(x, lowest, Lanes::all(0.0f), y);
    const Lanes high = where_less(highest, x, Lanes::all(__builtin_inff()), low);
    return where_equal(x, x, high, x);
}

}  // namespace flashback::inline FLASHBACK_ISA::simd

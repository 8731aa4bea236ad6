/// \file Compiles products and attention once for a whole program of many translation units.
///
/// Include it in one source and compile the others with FLASHBACK_EXTERN_KERNELS defined, all for the same instruction set.
/// Without that macro every translation unit compiles what it uses, and there is nothing to link.
#pragma once

#include "flashback/simd/attention.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/matmul.hpp"

namespace flashback::inline FLASHBACK_ISA::simd::detail {

FLASHBACK_DETAIL_MATMULS()
FLASHBACK_DETAIL_ATTENDS()
FLASHBACK_DETAIL_GEMMS()

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail

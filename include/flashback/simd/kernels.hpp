/// \file Compiles products and attention once for a whole program, where many translation units use them.
///
/// Include it in one source; compile the others with FLASHBACK_EXTERN_KERNELS defined, and all of them for the same instruction set.
/// Without that macro every translation unit compiles what it uses, and nothing is to be linked.
#pragma once

#include "flashback/simd/attention.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/matmul.hpp"

namespace flashback::inline FLASHBACK_ISA::simd::detail {

FLASHBACK_DETAIL_MATMULS()
FLASHBACK_DETAIL_ATTENDS()
FLASHBACK_DETAIL_GEMMS()

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail

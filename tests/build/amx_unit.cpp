// Compiled for a processor with tiles, whether this one has them or not: tests/amx_instructions.sh looks at the instructions.
#include "flashback/simd/detail/matmul_tile.hpp"

namespace detail = flashback::simd::detail;

void multiply(const detail::MatmulPanels& w, const flashback::simd::Activations& a, std::size_t rows, float* y) {
    detail::matmul<detail::BF16Format>(w, a, rows, y, flashback::simd::padded(w.last * flashback::simd::panel_outputs));
}

void multiply_bytes(const detail::MatmulPanels& w, const flashback::simd::Activations& a, std::size_t rows, float* y) {
    detail::matmul<detail::Q8_0Format>(w, a, rows, y, flashback::simd::padded(w.last * flashback::simd::panel_outputs));
}

// The instructions of tiles, also on a processor that lacks them: there each of them traps, and the trap does its work.
#pragma once

#include "flashback/core/architectures.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

namespace flashback_test {

/// Whether this processor has what stands beside tiles: AVX-512 with BF16. If not, says that a test is skipped.
inline bool instructions_can_trap() {
    const bool here = flashback::runs_here("avx512_bf16");
    if (!here) MESSAGE("skipped: this processor lacks the instructions beside which tiles stand (AVX-512 with BF16)");
    return here;
}

/// Multiplies with the instructions and with the software twin; quantised weights by AVX-512 VNNI as well. Gives a sentence if an output
/// differs or the registers are used as the processor would not allow, and nothing if all is well.
/// Requires  a processor with the instructions of avx512_bf16; type: the number of BF16, Q8_0, Q4_0, Q4_K or Q6_K (DType has a tag)
std::string tiles_differ_from_twin(std::uint32_t type, std::size_t rows, std::size_t outputs, std::size_t inputs);

/// Likewise with attention to keys and values of bf16: query a is at position start + a / 4.
/// Requires  3 to 16 queries, d <= 256
std::string attention_differs_from_twin(std::size_t queries, std::size_t d, std::size_t start);

/// Runs a short burst for the peak of tiles, of bytes or of bf16, with the instructions. Gives a sentence if its products are not as many as
/// are counted, or as above.
/// Requires  as above
std::string tile_burst_is_wrong(bool bytes);

}  // namespace flashback_test

// The instructions of tiles, also on a processor that lacks them: there each of them traps, and the trap does its work.
#pragma once

#include <cstddef>
#include <string>

namespace flashback_test {

/// Multiplies with the instructions and with the software twin. Gives a sentence if an output differs or the registers are used as the
/// processor would not allow, and nothing if all is well.
/// Requires  a processor with the instructions of avx512_bf16
std::string tiles_differ_from_twin(std::size_t rows, std::size_t outputs, std::size_t inputs);

/// Likewise with attention to keys and values of bf16: query a is at position start + a / 4.
/// Requires  3 to 16 queries, d <= 256
std::string attention_differs_from_twin(std::size_t queries, std::size_t d, std::size_t start);

}  // namespace flashback_test

/// \file What the program of 05_architectures.cpp and its units for single processors say to each other.
#pragma once

#include <string_view>
#include <vector>

namespace flashback_examples {

/// What a unit found. Nothing here is a type of flashback: each unit has types of its own.
struct Reading {
    std::vector<double> logprobs;  ///< of the tokens of the text, from the second on; natural logarithms
    std::vector<int> next;         ///< the likeliest continuation, token by token
    double tolerance = 0;          ///< how far a unit whose sums are rounded otherwise may be off in a log-probability
    double prefill = 0;            ///< tokens per second, read at once
    double decode = 0;             ///< tokens per second, one by one
};

/// The entry point of a unit lies in a namespace that is called like its FLASHBACK_ISA.
using Read = Reading(std::string_view text);

#if defined(__x86_64__)
namespace sse2 {
Read read;
}
namespace avx2 {
Read read;
}
namespace avx512_bf16 {
Read read;
}
#endif

}  // namespace flashback_examples

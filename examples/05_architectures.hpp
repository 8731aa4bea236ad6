/// \file What the program of 05_architectures.cpp and its units for single processors say to each other.
#pragma once

#include "flashback/core/architectures.hpp"

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

/// What each unit does: reads the text and writes on. `read_text(text)` takes the best unit that this processor can run.
FLASHBACK_ARCHITECTURES(read_text, Reading(std::string_view text));

}  // namespace flashback_examples

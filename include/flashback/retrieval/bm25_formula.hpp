/// \file The formula of BM25.
#pragma once

#include "flashback/core/config.hpp"

namespace flashback::inline FLASHBACK_ISA {

/// The parameters of BM25. The defaults are those of Pyserini and Anserini.
struct Bm25Formula {
    double k1 = 0.9;  ///< in [0, 1000]: how soon more occurrences of a term stop counting
    double b = 0.4;   ///< in [0, 1]: how much a passage is marked down for being long
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file What a passage beside the text of a training example means, straight from PassageRows.
#pragma once

#include "flashback/data/example.hpp"

#include <cstddef>

namespace flashback_test {

/// Whether a token is of the passage.
inline bool is_beside(const flashback::PassageRows& rows, std::size_t token) { return token >= rows.begin && token < rows.end; }

/// Where a token stands.
inline std::size_t position_of(const flashback::PassageRows& rows, std::size_t token) {
    if (is_beside(rows, token)) return rows.head + (token - rows.begin);
    return token < rows.begin ? token : token - rows.size();
}

/// Whether a token sees another one.
inline bool sees(const flashback::PassageRows& rows, std::size_t token, std::size_t other) {
    if (other > token) return false;
    if (is_beside(rows, token)) return is_beside(rows, other) || other < rows.head;
    return !is_beside(rows, other) || position_of(rows, other) + rows.gap <= position_of(rows, token);
}

}  // namespace flashback_test

/// \file Passages as ranges, for programs that compose them with range-v3: one by one, and document by document.
///
/// The umbrella does not include this header, because any header of range-v3 costs a quarter of a second of compile time.
#pragma once

#include "flashback/retrieval/passages.hpp"

#include <range/v3/view/chunk_by.hpp>
#include <range/v3/view/iota.hpp>
#include <range/v3/view/transform.hpp>

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The passages of a collection, one by one: a random-access range of Passage.
/// Requires  the collection lives as long
inline auto each_passage(const Passages& passages) {
    return ranges::views::iota(std::size_t{0}, passages.size()) |
           ranges::views::transform([&passages](std::size_t i) { return passages[i]; });
}
/// Refuses temporary passages, which would be gone.
void each_passage(Passages&&) = delete;

/// The numbers of the passages, grouped by document: a range of ranges, without documents that have no passage.
/// Requires  the collection lives as long
inline auto passages_by_document(const Passages& passages) {
    return ranges::views::iota(std::size_t{0}, passages.size()) |
           ranges::views::chunk_by(
               [&passages](std::size_t a, std::size_t b) { return passages.document_of(a) == passages.document_of(b); });
}
/// Refuses temporary passages, which would be gone.
void passages_by_document(Passages&&) = delete;

}  // namespace flashback::inline FLASHBACK_ISA

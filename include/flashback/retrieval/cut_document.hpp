/// \file A document cut into passages, one at a time.
#pragma once

#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/document.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Cuts a document into passages of at most `most_tokens` tokens and hands out one after the other; their views are valid
/// during the call. Nothing is kept.
///
/// - A passage ends at the end of a sentence if there is one in its last quarter, else between two words there.
/// - The head of the codec stands in front of each passage and counts.
/// - If the text begins with the title, each passage but the first begins with the title and a line break, which count as well.
///   A title that would take more than a quarter of the tokens is cut.
/// - The id is that of the document if it has no other passage, else `id#1`, `id#2`, ... An id that ends in `#` and digits by
///   itself gets `#1` in any case. So passages of documents with different ids have different ids.
/// - The text has no white space at its ends. It views the document wherever that is what the tokens say; behind the title, it
///   is a copy.
///
/// Throws    Error{contract} unless the codec encodes and decodes, and `most_tokens` is more than its head has; what the codec
///           throws
/// Cost      encodes the text once and decodes each token once
void cut_document(const Document& document, const Codec& codec, std::size_t most_tokens,
                  FunctionRef<void(const Passage&)> on_passage);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/cut_document.hpp"
#endif

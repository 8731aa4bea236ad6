/// \file Strides and documents as ranges, for programs that compose them with range-v3: with its views (`zip`, `filter`) or
/// loops.
///
/// The umbrella does not include this header, because any header of range-v3 costs a quarter of a second of compile time.
#pragma once

#include "flashback/data/retrieval_strides.hpp"
#include "flashback/data/text_stream.hpp"

#include <range/v3/view/transform.hpp>

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The strides of a text, one by one: a random-access range of RetrievedStride. It holds a copy, which shares the passages.
inline auto each_stride(const RetrievedStrides& strides) {
    return strides.entries() | ranges::views::transform([strides](const RetrievedStrides::Entry& entry) {
               return strides[static_cast<std::size_t>(&entry - strides.entries().data())];
           });
}

/// A document of a stream, and its tokens there.
struct StreamedDocument {
    const SourceDocument& document;  ///< where the text is from
    TokenSpan tokens;                ///< all of its text
};

/// The documents of a stream, one by one: a random-access range of StreamedDocument.
/// Requires  the stream lives as long, and no document is added
inline auto each_document(const TextStream& text) {
    return text.documents() | ranges::views::transform([&text](const SourceDocument& document) {
               const bool first = &document == text.documents().data();
               const std::size_t begin = first ? 0 : (&document - 1)->end;
               return StreamedDocument{document, text.tokens().subspan(begin, document.end - begin)};
           });
}
/// Refuses a temporary stream, whose documents would be gone.
void each_document(TextStream&&) = delete;

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Documents made segments, several at once.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/segment_builder.hpp"
#include "flashback/retrieval/document.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// How documents become a segment.
struct SegmentRecipe {
    const AnyAnalyzer* analyzer;
    const Codec* codec;  // null: documents stay whole
    std::size_t passage_tokens;
    Bm25Formula formula;
};

/// The bytes of a segment of some documents. Documents without any text that can be read have no passage, and are left out.
inline std::vector<std::byte> build_segment(std::span<const Document> documents, const SegmentRecipe& recipe) {
    std::vector<std::byte> bytes;
    const auto keep = [&](std::span<const std::byte> some) { bytes.insert(bytes.end(), some.begin(), some.end()); };
    SegmentBuilder builder{keep, recipe.formula};
    for (const Document& document : documents) {
        const auto add = [&](std::string_view id, std::string_view text, TokenSpan tokens) {
            builder.passage(id, text, tokens, [&](auto&& on_term) { recipe.analyzer->analyze(text, on_term); });
        };
        if (recipe.codec == nullptr) {
            builder.document(document.id, document.title);
            add({}, document.text, {});
            continue;
        }
        bool any = false;
        const auto on_passage = [&](const Passage& passage) {
            if (!std::exchange(any, true)) builder.document(document.id, document.title);
            add(passage.id == document.id ? std::string_view{} : passage.id, passage.text, passage.tokens);
        };
        cut_document(document, *recipe.codec, recipe.passage_tokens, on_passage);
    }
    builder.finish();
    return bytes;
}

/// Divides documents into as many runs of about equal bytes as can be worked on at once, and makes a segment of each.
inline std::vector<std::vector<std::byte>> build_segments(std::span<const Document> documents, const SegmentRecipe& recipe,
                                                          const ExecutorRef& executor) {
    std::size_t total = 0;
    for (const Document& document : documents) total += document.text.size() + 1;
    const std::size_t parts = std::min(executor.concurrency(), documents.size());
    std::vector<std::span<const Document>> runs;
    std::size_t begin = 0;
    std::size_t bytes = 0;
    for (std::size_t d = 0; d < documents.size(); ++d) {
        bytes += documents[d].text.size() + 1;
        if (bytes * parts < total * (runs.size() + 1)) continue;
        runs.push_back(documents.subspan(begin, d + 1 - begin));
        begin = d + 1;
    }
    std::vector<std::vector<std::byte>> segments(runs.size());
    executor.run(runs.size(), [&](std::size_t i) { segments[i] = build_segment(runs[i], recipe); });
    return segments;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

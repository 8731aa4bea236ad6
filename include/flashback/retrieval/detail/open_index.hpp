/// \file Opening an index that stands in files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/index_folder.hpp"

#include <filesystem>
#include <memory>
#include <string>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Refuses an analyzer or a codec that an index was not made with.
inline void check_same(const std::filesystem::path& folder, const IndexManifest& manifest, const AnyAnalyzer& analyzer,
                       const std::optional<Codec>& codec) {
    if (manifest.analyzer != analyzer.name()) {
        FLASHBACK_THROW(ErrorCode::contract, "the index '", folder.string(), "' was made with the analyzer '",
                        manifest.analyzer, "', but it is used with '", analyzer.name(), "'");
    }
    if (codec && manifest.passage_tokens != 0 && manifest.codec != codec->fingerprint) {
        FLASHBACK_THROW(ErrorCode::contract, "the passages of the index '", folder.string(), "' were cut with the vocabulary ",
                        manifest.codec, ", but it is used with ", codec->fingerprint,
                        "; make it again with the tokenizer of this model");
    }
}

/// Opens the segments that the folder names now. A writer may replace them between two steps: then it is tried again.
inline std::shared_ptr<Bm25Parts> open_parts(const std::filesystem::path& folder, const OpenIndexOptions& options) {
    for (int attempt = 0;; ++attempt) {
        const IndexManifest manifest = read_manifest(folder);
        check_same(folder, manifest, options.analyzer, options.codec);
        auto parts = std::make_shared<Bm25Parts>();
        try {
            open_segments(folder, manifest, options.access, parts->held);
            return parts;
        } catch (const Error& error) {
            constexpr int attempts = 10;
            const bool replaced = manifest_text(read_manifest(folder)) != manifest_text(manifest);
            if (error.code() != ErrorCode::io || !replaced || attempt == attempts) throw;
        }
    }
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE IndexInfo read_index_info(const std::filesystem::path& folder) {
    const detail::IndexManifest manifest = detail::read_manifest(folder);
    return {.analyzer = manifest.analyzer,
            .codec = manifest.codec,
            .passage_tokens = manifest.passage_tokens,
            .segments = manifest.segments.size(),
            .formula = manifest.formula,
            .fingerprint = detail::text_sum(detail::manifest_text(manifest))};
}

FLASHBACK_DETAIL_ONCE Bm25Index Bm25Index::open(const std::filesystem::path& folder, const OpenIndexOptions& options) {
    const std::shared_ptr<detail::Bm25Parts> parts = detail::open_parts(folder, options);
    if (options.verify) {
        for (const detail::HeldSegment& its : parts->held) its.segment.verify(its.name);
    }
    parts->analyzer = options.analyzer;
    parts->codec = options.codec;
    parts->executor = options.executor;
    parts->complete(options.formula);
    return Bm25Index{parts};
}

}  // namespace flashback::inline FLASHBACK_ISA

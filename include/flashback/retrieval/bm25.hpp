/// \file BM25: the search engine of In-Context RALM and FlashBack, in memory or in the files of an index.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/bm25_formula.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/document.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {
struct Bm25Parts;
}  // namespace detail

/// How documents become a BM25 index in memory.
struct Bm25Options {
    Bm25Formula formula = {};          ///< k1 and b
    AnyAnalyzer analyzer = {};         ///< how texts and queries become terms
    std::size_t passage_tokens = 128;  ///< documents are cut into passages of at most this many tokens
    ExecutorRef executor = {};         ///< where building and batches of queries run
};

/// How an index is opened that stands in files.
struct OpenIndexOptions {
    Bm25Formula formula = {};                   ///< it need not be the one that the index was made with
    AnyAnalyzer analyzer = {};                  ///< it must be the one that the index was made with
    std::optional<Codec> codec = std::nullopt;  ///< for queries of tokens; if given, it must be the one that cut the passages
    bool verify = false;                        ///< reads everything, and compares all checksums
    FileAccess access = FileAccess::map;        ///< whether files are mapped or read
    ExecutorRef executor = {};                  ///< where batches of queries run
};

/// What the folder of an index says of itself.
struct IndexInfo {
    std::string analyzer;            ///< its name
    std::uint64_t codec = 0;         ///< fingerprint of the codec that cut the passages; 0: documents are whole
    std::size_t passage_tokens = 0;  ///< 0: documents are whole
    std::size_t segments = 0;        ///< files of passages
    Bm25Formula formula = {};        ///< what its bounds were computed with
    std::uint64_t fingerprint = 0;   ///< of the list of its files: another number for another state
};

/// Reads what an index says of itself.
/// Throws    Error{io} if there is none; Error{format} if it is damaged; Error{unsupported} for another version
IndexInfo read_index_info(const std::filesystem::path& folder);

/// Whether a folder is the index of a Bm25Index: it has the file 'index'. What that holds is not looked at.
inline bool is_bm25_index(const std::filesystem::path& folder) {
    std::error_code unknown;
    return std::filesystem::is_regular_file(folder / "index", unknown);
}

/// An index over passages that scores a query q against a passage d as
///
///     sum over terms t of q:  ln(1 + (N - n + 0.5) / (n + 0.5)) · tf / (tf + k1 (1 - b + b |d| / average |d|))
///
/// Here n of N passages have the term, and d has it tf times. A term that the query repeats counts each time. The index is immutable, so
/// several threads may search at once; copies share it. It satisfies BatchRetriever.
/// Source    Robertson and Zaragoza 2009, The probabilistic relevance framework, section 3.4; this idf, and no factor k1 + 1,
///           as in Lucene 8 and later
class Bm25Index {
public:
    /// Cuts documents into passages (cut_document) and indexes them.
    /// Throws    Error{contract} for options out of range, and if a part of the index would pass 2^32 passages; Error{corpus} if two documents
    ///           have one id; what the codec throws
    Bm25Index(std::vector<Document> documents, const Codec& codec, const Bm25Options& options = {});

    /// Indexes whole documents, for searching by text. Their passages have no tokens.
    /// Throws    as above
    explicit Bm25Index(std::vector<Document> documents, const Bm25Options& options = {});

    /// Opens an index that IndexWriter has written. What it reads stays as it is, whatever writers do meanwhile.
    /// Throws    Error{io} if there is none, or its files cannot be read; Error{format} if a file is damaged; Error{contract} for another
    ///           analyzer or codec than it was made with, or a formula out of range
    /// Cost      maps the files, and reads their ends and what was removed; with `verify` all of them
    static Bm25Index open(const std::filesystem::path& folder, const OpenIndexOptions& options = {});

    /// Number of passages, without those of documents that were removed.
    std::size_t size() const noexcept;
    /// Number of documents that have a passage, without those that were removed.
    std::size_t documents() const noexcept;
    /// Bytes that searching may read: without the texts and tokens of passages.
    std::size_t search_bytes() const noexcept;

    /// A passage by its number, and its score.
    struct Hit {
        std::size_t passage;  ///< its number in the index
        double score;         ///< its BM25
    };

    /// Whether a passage may be among the answers.
    using Accept = FunctionRef<bool(const Passage&)>;

    /// The best k passages that share a term with the query, among those that `accept` wants if it is given. If scores are equal, the order is by
    /// document id, then by place in the document. The views are valid as long as this index or a copy lives.
    /// Throws    Error{contract} for a query of tokens if the index has no codec; Error{format} if a file is damaged
    /// Cost      one thread; it leaves out what cannot be among the best k (MaxScore by blocks)
    std::vector<Passage> retrieve(const Query& query, std::size_t k) const { return retrieve(query, k, {}); }
    std::vector<Passage> retrieve(const Query& query, std::size_t k, Accept accept) const;

    /// The answers to several queries, in their order.
    /// Throws    as `retrieve`
    /// Cost      the queries are divided among the threads of the executor; up to 16 go through the index together, and share what they
    ///           decode of it
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) const;

    /// Like `retrieve`, but by text, and with numbers instead of views.
    std::vector<Hit> search(std::string_view text, std::size_t k, Accept accept = {}) const;

    /// Calls `on_passage` for all passages, without those of documents that were removed.
    /// Throws    what `on_passage` throws; Error{format} if a file is damaged
    void for_each_passage(FunctionRef<void(const Passage&)> on_passage) const;

    /// A passage by the number that `search` gives. The id is that of its document if that has no other, else as cut_document says.
    /// Throws    Error{contract} for a number that no passage has; Error{format} if a file is damaged
    Passage operator[](std::size_t passage) const;

    /// The id of the document that a passage is from.
    /// Throws    as operator[]
    std::string_view document_of(std::size_t passage) const;

private:
    explicit Bm25Index(std::shared_ptr<const detail::Bm25Parts> parts) : parts_(std::move(parts)) {}

    std::shared_ptr<const detail::Bm25Parts> parts_;
};

static_assert(BatchRetriever<const Bm25Index>);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/bm25_index.hpp"
#include "flashback/retrieval/detail/open_index.hpp"
#endif

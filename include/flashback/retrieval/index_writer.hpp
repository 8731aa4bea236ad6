/// \file Makes an index in files, and extends it.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/document.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {
class IndexWriterState;
}  // namespace detail

/// How an IndexWriter makes passages and terms.
struct IndexWriterOptions {
    AnyAnalyzer analyzer = {};                  ///< what is searched for; by default words
    std::optional<Codec> codec = std::nullopt;  ///< what documents are cut with; without one they stay whole
    std::size_t passage_tokens = 128;           ///< the most tokens of a passage
    Bm25Formula formula =
        {};  ///< what searches are expected to use; others are slower, not wrong. An index that is there keeps its own
    std::size_t batch_bytes = std::size_t{1}
                              << 26;  ///< text that is held before it becomes segments; memory for about six times as much
    ExecutorRef executor = {};        ///< where segments are built
};

/// Writes an index into a folder. What was committed can be read, by any number of processes, while more is added: a reader has the index as
/// it was when it was opened. A writer that is killed, or that finds the disk full, leaves what was committed last.
class IndexWriter {
public:
    /// Opens the folder for writing, or makes it. Files that a writer left behind which was killed are removed.
    /// Throws    Error{io} if that is impossible, or another writer has it; Error{format} if an index there is damaged; Error{contract} if it
    ///           was made with another analyzer, codec or passage length, or for options out of range
    IndexWriter(std::filesystem::path folder, const IndexWriterOptions& options = {});
    IndexWriter(IndexWriter&&) noexcept;
    IndexWriter& operator=(IndexWriter&&) noexcept;
    ~IndexWriter();

    /// Adds a document. Readers see it after the next `commit`.
    /// Throws    Error{corpus} if a document with this id is there, and nothing has changed; what analyzer and codec throw, Error{io}, and
    ///           Error{contract} for 2^32 passages at once or terms of more than 65,535 bytes: then the index is as it was, and the
    ///           writer is of no use any more: all that it is asked for throws Error{contract}
    /// Cost      little, but once in `batch_bytes` the segments of the batch are built and written
    void add(Document document);

    /// Removes a document, and says whether there was one. Its passages are skipped from the next `commit` on, and leave the files when
    /// their segment is merged; until then they count in the statistics of terms.
    /// Throws    Error{contract} after a failure
    bool remove(std::string_view id);

    /// Makes what was added and removed visible, all at once. What was added since the last commit becomes one segment.
    /// Throws    as `add`
    /// Cost      writes what was added, twice if it took several batches
    void commit();

    /// Makes one segment of all, without documents that were removed. Readers see it at once.
    /// Throws    as `add`; Error{format} if a file is damaged: it is verified first
    /// Cost      reads the whole index twice and writes it
    void merge();

    /// Documents in the index, what was added since the last commit included. One without text counts until it is written.
    std::size_t documents() const noexcept;

private:
    std::unique_ptr<detail::IndexWriterState> state_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/index_writer.hpp"
#endif

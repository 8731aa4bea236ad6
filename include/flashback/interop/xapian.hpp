/// \file Xapian as a retriever: passages in databases on disk, on one machine or on several.
///
/// The umbrella does not include this header, because it needs the library Xapian (1.4). CMake: `flashback::xapian`.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <xapian.h>

namespace flashback::inline FLASHBACK_ISA {

/// A passage as it lies in a database. All of it is bytes, which come back as they were.
struct XapianPassage {
    std::string id;                               ///< names the passage; unique in a database
    std::string title;                            ///< of its document; may be empty
    std::string text;                             ///< what is searched and read
    std::map<std::string, std::string> metadata;  ///< whatever the caller wants to find again with it

    bool operator==(const XapianPassage&) const = default;
};

/// What becomes of words before they are indexed or searched.
enum class XapianStemming : std::uint8_t {
    none,
    english,  ///< `searches` and `searching` become `search`
};

/// Writes passages into a Xapian database. Words are those of Bm25Index: runs of Unicode letters, marks and digits in lower
/// case, without stop words; those of more than 200 bytes are left out. Several databases can be searched as one: `add` each
/// passage to one of them.
class XapianIndexer {
public:
    /// Opens the database in a folder, or makes it. Only one writer at a time may have it open.
    /// Throws    Error{io} if Xapian cannot; Error{format} for a database that something else wrote, or with other stemming
    explicit XapianIndexer(const std::filesystem::path& folder, XapianStemming stemming = XapianStemming::english);

    /// Adds a passage, or replaces the one with its id.
    /// Throws    Error{corpus} for an id that is empty or has more than 240 bytes; Error{io} if Xapian cannot
    void add(const XapianPassage& passage);

    /// Makes what was added visible to searches, and durable. Without it the destructor tries, and says nothing if that fails.
    /// Throws    Error{io} if Xapian cannot
    void commit();

    /// Passages in the database, also those that are not committed yet.
    std::size_t size() const { return static_cast<std::size_t>(database_.get_doccount()); }

private:
    std::string name_;
    Xapian::Stem stem_;
    Xapian::WritableDatabase database_;
};

/// What becomes of a search if a shard does not answer.
enum class DeadShard : std::uint8_t {
    error,    ///< an Error that names it
    partial,  ///< the others are searched, and `missing_shards` names it
};

/// How Xapian is asked.
struct XapianOptions {
    double k1 = 0.9;                                  ///< >= 0: how soon more occurrences of a word stop counting
    double b = 0.4;                                   ///< in [0, 1]: how much a passage is marked down for being long
    DeadShard dead_shard = DeadShard::error;          ///< what a shard that does not answer does to a search
    std::chrono::milliseconds timeout{10000};         ///< for each answer of a remote shard; at least 1 ms, at most an hour
    std::chrono::milliseconds connect_timeout{2000};  ///< for connecting to one; likewise
    std::size_t cached_passages = 4096;               ///< passages whose tokens are kept; at that number all are forgotten
};

/// A shard that did not answer, and what Xapian said.
struct MissingShard {
    std::string shard;   ///< as it was given to the retriever
    std::string reason;  ///< what Xapian said
};

/// Searches databases that XapianIndexer wrote. It satisfies Retriever. Passages get the score that BM25 of Xapian gives them:
///
///     sum over words w of q:  idf(w) · (k1 + 1) tf / (tf + k1 (1 - b + b |d| / average |d|))
///
/// Here idf is ln((N - n + 0.5) / (n + 0.5)) if that is at least ln 2, and else ln(1 + (N - n + 0.5) / (2 n + 1)): n of N
/// passages have the word. A word that the query repeats counts each time, to a millionth. All shards share N, n and the average
/// length, so several give the same passages and scores as one with everything. Equal scores are ordered by id.
///
/// If a shard fails during a search, all are opened again and asked one by one; then those that answer are searched once more.
/// So a dead shard costs its timeout at most twice. One that is missing from a partial result stays away until `reopen`; what
/// is found meanwhile has the scores that the others have without it.
///
/// One thread at a time may use it.
/// Source    Robertson and Zaragoza 2009, The probabilistic relevance framework; Xapian 1.4, BM25Weight
class XapianRetriever {
public:
    /// Makes the tokens of a passage from its text.
    using Encode = std::function<TokenBuffer(std::string_view)>;
    /// Makes text from the tokens of a query.
    using Decode = std::function<std::string(TokenSpan)>;

    /// Opens the shards: folders, and `tcp://HOST:PORT` for each xapian-tcpsrv. `encode` makes the tokens of a passage from its
    /// text; `decode` makes text from the tokens of a query, and may be empty if queries are text.
    /// Throws    Error{contract} for no shard, one that is named twice, an address without a port, no `encode`, and options out
    ///           of range; Error{io} for a shard that does not answer, with DeadShard::partial only if none does; Error{format}
    ///           for a database that XapianIndexer did not write, or with other stemming than the first
    XapianRetriever(const std::vector<std::string>& shards, Encode encode, Decode decode = {},
                    const XapianOptions& options = {});
    XapianRetriever(XapianRetriever&&) = default;  // no copies: they would share connections
    XapianRetriever& operator=(XapianRetriever&&) = default;

    /// The best k passages that share a word with the query, valid until the next call.
    /// Throws    Error{contract} for a query of tokens without `decode`; Error{io} as the constructor, and the next call opens
    ///           the shards again; Error{format} for a passage that is damaged; what `encode` and `decode` throw
    std::span<const Passage> retrieve(const Query& query, std::size_t k);

    /// What the last `retrieve` found, with metadata.
    std::span<const XapianPassage> found() const noexcept { return found_; }

    /// The shards that the last result lacks.
    std::span<const MissingShard> missing_shards() const noexcept { return missing_; }

    /// Opens all shards again: those that are missing, and those that have new passages.
    /// Throws    as the constructor
    void reopen();

private:
    struct Shard {
        std::string name;
        std::string place;  // a folder, or a host
        unsigned port = 0;  // 0: a folder
        Xapian::Database database;
        std::string reason;  // why it is missing; empty: it is there
    };
    struct Hit {
        double score;
        XapianPassage passage;
    };

    void open(Shard& shard);
    void ask_alone(Shard& shard, const Xapian::Query& query);
    void gather();
    Xapian::Query query_of(std::string_view text) const;
    Xapian::Enquire enquire(const Xapian::Database& database, const Xapian::Query& query) const;
    std::vector<Hit> search(const Xapian::Query& query, std::size_t k) const;
    XapianPassage passage_at(const Xapian::MSetIterator& hit) const;
    std::shared_ptr<const TokenBuffer> tokens_of(const std::string& text);

    Encode encode_;
    Decode decode_;
    XapianOptions options_;
    std::vector<Shard> shards_;
    Xapian::Database all_;             // the shards that are there
    std::vector<std::string> living_;  // their names, in the order of all_
    bool open_ = false;                // whether all_ can be asked
    std::string stemming_;             // what the databases say
    Xapian::Stem stem_;
    std::vector<MissingShard> missing_;
    std::unordered_map<std::string, std::shared_ptr<const TokenBuffer>> cache_;  // by text
    std::vector<XapianPassage> found_;
    std::vector<std::shared_ptr<const TokenBuffer>> tokens_;
    std::vector<Passage> passages_;
};

static_assert(Retriever<XapianRetriever>);

}  // namespace flashback::inline FLASHBACK_ISA

// compile_once.hpp does not know Xapian: these are always compiled where they are used.
#include "flashback/interop/detail/xapian_indexer.hpp"
#include "flashback/interop/detail/xapian_retriever.hpp"

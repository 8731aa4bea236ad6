/// \file Judgements and rankings in the formats of TREC.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Which documents answer which query, as people judged them.
struct TrecQrels {
    /// Documents and their grades. 1 or more: relevant, and the more so the higher; 0 or less: not relevant.
    using Grades = std::map<std::string, std::int32_t, std::less<>>;

    std::map<std::string, Grades, std::less<>> queries;  ///< by id of the query
};

/// A document that was found, and how well it fits the query.
struct ScoredDocument {
    std::string id;    ///< id of the document
    double score = 0;  ///< of the search engine

    bool operator==(const ScoredDocument&) const = default;
};

/// What a search engine found for each of many queries.
struct TrecRun {
    std::string tag = "flashback";                                             ///< the name of the engine
    std::map<std::string, std::vector<ScoredDocument>, std::less<>> rankings;  ///< by id of the query
};

/// Sorts a ranking as trec_eval does: by score, the highest first; equal scores by document id, the last first.
/// Requires  no score is NaN
void sort_ranking(std::vector<ScoredDocument>& ranking);

/// Reads judgements. If the first line is `query-id corpus-id score`, as BEIR has it, the others have these three columns; else
/// all have the four of TREC: `query 0 document grade`. Columns are separated by blanks; ids are bytes, in any encoding.
/// Throws    Error{io} for a path that cannot be read; Error{format} with the number of a line that has other columns, a grade
///           that is no whole number, or a document that was judged before, and if there is no judgement
/// Source    trec_eval, https://github.com/usnistgov/trec_eval; Thakur et al. 2021, BEIR
TrecQrels read_qrels(const std::filesystem::path& path, FileAccess access = FileAccess::map);

/// The judgements in the bytes of a file; `name` stands in messages.
/// Throws    Error{format}, as `read_qrels`
/// Cost      memory for a few times the bytes
TrecQrels parse_qrels(std::string_view bytes, const std::string& name);

/// Reads a run: lines `query Q0 document rank score tag`. As in trec_eval the scores make the ranking, and the ranks count for
/// nothing. The tag is that of the first line. A file without lines is a run that found nothing.
/// Throws    Error{io} for a path that cannot be read; Error{format} with the number of a line that has other columns, a score
///           that is no finite number, or a document that the query has already
TrecRun read_run(const std::filesystem::path& path, FileAccess access = FileAccess::map);

/// The run in the bytes of a file; `name` stands in messages.
/// Throws    Error{format}, as `read_run`
/// Cost      memory for a few times the bytes
TrecRun parse_run(std::string_view bytes, const std::string& name);

/// Writes a run, as a whole or not at all. Rankings are written in the order of `sort_ranking`, so the ranks are those that
/// trec_eval sees, and scores with as many digits as they need: what is read again is the same to the bit.
/// Throws    Error{corpus} for an id or a tag that is empty or has blanks; Error{contract} for a score that is not finite, or a
///           document that a query has twice; Error{io}
void write_run(const std::filesystem::path& path, const TrecRun& run);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/trec.hpp"
#endif

/// \file Reading and writing the formats of TREC.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/detail/text_file.hpp"
#include "flashback/retrieval/trec.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The columns of a line, between blanks. One more than any format has is kept: it is enough to refuse the line.
class TrecColumns {
public:
    explicit TrecColumns(std::string_view line) {
        while (count_ < columns_.size()) {
            while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
            if (line.empty()) return;
            const auto end =
                static_cast<std::size_t>(std::ranges::find_if(line, [](char c) { return is_blank(c); }) - line.begin());
            columns_[count_++] = line.substr(0, end);
            line.remove_prefix(end);
        }
    }

    std::size_t count() const noexcept { return count_; }
    std::string_view operator[](std::size_t i) const noexcept { return columns_[i]; }

private:
    std::array<std::string_view, 7> columns_;
    std::size_t count_ = 0;
};

/// A line of a file, for messages.
inline std::string trec_place(const std::string& name, std::size_t line) {
    return "'" + name + "' line " + std::to_string(line);
}

/// Calls `read(columns, number)` for each line that is not blank.
template <class Read>
void for_each_trec_line(std::string_view bytes, const Read& read) {
    if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
    for (std::size_t number = 1; !bytes.empty(); ++number) {
        const TrecColumns columns{take_line(bytes)};
        if (columns.count() > 0) read(columns, number);
    }
}

inline void check_columns(const TrecColumns& columns, std::size_t wanted, const char* names, const std::string& name,
                          std::size_t line) {
    if (columns.count() == wanted) return;
    FLASHBACK_THROW(ErrorCode::format, trec_place(name, line), " has ", columns.count() > wanted ? "more than " : "",
                    std::min(columns.count(), wanted), " columns, expected ", wanted, ": ", names);
}

/// Reads the number that a column is; false if it is none.
template <class Number>
bool fills_number(std::string_view text, Number& number) {
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    return rest == end && error == std::errc{};
}

/// The value of a key, which is put there if it is new. std::map would make a string of each key that it looks for.
template <class Map>
typename Map::mapped_type& at_key(Map& map, std::string_view key) {
    const auto it = map.lower_bound(key);
    return it != map.end() && it->first == key ? it->second : map.try_emplace(it, std::string{key})->second;
}

/// An id as a column of a run.
inline std::string_view trec_column(std::string_view id) {
    if (id.empty() || std::ranges::any_of(id, [](char c) { return is_blank(c) || c == '\n'; })) {
        FLASHBACK_THROW(ErrorCode::corpus, "a TREC run separates columns by blanks and cannot hold the id '", printable(id),
                        "'");
    }
    return id;
}

inline std::string shortest_digits(double score) {
    std::array<char, 32> digits;
    return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), score).ptr};
}

/// The lines of a query in a run.
inline std::string ranking_lines(std::string_view query, std::vector<ScoredDocument> ranking, std::string_view tag) {
    for (const ScoredDocument& document : ranking) {
        FLASHBACK_ASSERT(std::isfinite(document.score), "the document '", printable(document.id), "' of query '",
                         printable(query), "' has the score ", document.score, ", expected a finite one");
    }
    sort_ranking(ranking);
    std::unordered_set<std::string_view> seen;
    std::string lines;
    for (const ScoredDocument& document : ranking) {
        FLASHBACK_ASSERT(seen.insert(document.id).second, "query '", printable(query), "' has the document '",
                         printable(document.id), "' twice, expected each once");
        const std::string rank = std::to_string(seen.size());
        const std::string score = shortest_digits(document.score);
        for (const std::string_view part :
             {query, std::string_view{" Q0 "}, trec_column(document.id), std::string_view{" "}, std::string_view{rank},
              std::string_view{" "}, std::string_view{score}, std::string_view{" "}, tag, std::string_view{"\n"}})
            lines += part;
    }
    return lines;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void sort_ranking(std::vector<ScoredDocument>& ranking) {
    std::ranges::sort(ranking, [](const ScoredDocument& x, const ScoredDocument& y) {
        return x.score != y.score ? x.score > y.score : x.id > y.id;
    });
}

FLASHBACK_DETAIL_ONCE TrecQrels parse_qrels(std::string_view bytes, const std::string& name) {
    TrecQrels qrels;
    bool first = true;
    bool beir = false;
    detail::for_each_trec_line(bytes, [&](const detail::TrecColumns& columns, std::size_t line) {
        if (std::exchange(first, false) && columns.count() == 3 && columns[0] == "query-id" && columns[1] == "corpus-id" &&
            columns[2] == "score") {
            beir = true;
            return;
        }
        beir ? detail::check_columns(columns, 3, "query-id corpus-id score", name, line)
             : detail::check_columns(columns, 4, "query 0 document grade (or a first line 'query-id corpus-id score')", name,
                                     line);
        const std::string_view document = columns[beir ? 1 : 2];
        const std::string_view grade = columns[beir ? 2 : 3];
        std::int32_t number = 0;
        if (!detail::fills_number(grade, number)) {
            FLASHBACK_THROW(ErrorCode::format, detail::trec_place(name, line), " has the grade '", printable(grade),
                            "', expected a whole number of 32 bits");
        }
        if (!detail::at_key(qrels.queries, columns[0]).try_emplace(std::string{document}, number).second) {
            FLASHBACK_THROW(ErrorCode::format, detail::trec_place(name, line), " judges the document '", printable(document),
                            "' a second time for query '", printable(columns[0]), "'");
        }
    });
    if (qrels.queries.empty()) FLASHBACK_THROW(ErrorCode::format, "'", name, "' holds no judgement, expected at least one");
    return qrels;
}

FLASHBACK_DETAIL_ONCE TrecRun parse_run(std::string_view bytes, const std::string& name) {
    TrecRun run;
    bool first = true;
    std::map<std::string, std::unordered_set<std::string_view>, std::less<>> seen;  // views of the bytes
    detail::for_each_trec_line(bytes, [&](const detail::TrecColumns& columns, std::size_t line) {
        detail::check_columns(columns, 6, "query Q0 document rank score tag", name, line);
        if (std::exchange(first, false)) run.tag = columns[5];
        double score = 0;
        if (!detail::fills_number(columns[4], score) || !std::isfinite(score)) {
            FLASHBACK_THROW(ErrorCode::format, detail::trec_place(name, line), " has the score '", printable(columns[4]),
                            "', expected a finite number");
        }
        if (!detail::at_key(seen, columns[0]).insert(columns[2]).second) {
            FLASHBACK_THROW(ErrorCode::format, detail::trec_place(name, line), " names the document '", printable(columns[2]),
                            "' a second time for query '", printable(columns[0]), "'");
        }
        detail::at_key(run.rankings, columns[0]).push_back({std::string{columns[2]}, score});
    });
    for (auto& query : run.rankings) sort_ranking(query.second);
    return run;
}

FLASHBACK_DETAIL_ONCE TrecQrels read_qrels(const std::filesystem::path& path, FileAccess access) {
    return parse_qrels(MappedFile{path, access}.text(), path.string());
}

FLASHBACK_DETAIL_ONCE TrecRun read_run(const std::filesystem::path& path, FileAccess access) {
    return parse_run(MappedFile{path, access}.text(), path.string());
}

FLASHBACK_DETAIL_ONCE void write_run(const std::filesystem::path& path, const TrecRun& run) {
    std::string lines;
    for (const auto& [query, ranking] : run.rankings)
        lines += detail::ranking_lines(detail::trec_column(query), ranking, detail::trec_column(run.tag));
    AtomicFile file{path};
    file.write(lines);
    file.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA

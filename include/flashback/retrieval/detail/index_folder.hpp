/// \file The files of an index in their folder.
///
/// `index` names the others, in lines of text:
///
///     flashback index 1
///     analyzer words
///     passages 128 of 1234567890123456789      at most so many tokens, cut by the codec with this fingerprint; 0 of 0: whole documents
///     formula 0.9 0.4
///     next 8                                   the number of the next file
///     segment 3 123 without 5 456              3.segment and the checksum of its end; 5.gone, the documents of it that were removed, and
///     segment 7 789 without 0 0                its checksum; 0 if none was
///     sum 123456789                            the checksum of the lines in front of it
///
/// It is replaced as a whole. A file that it does not name is of a writer that was stopped, or of an index that somebody still reads.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/bm25_formula.hpp"
#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/deletions.hpp"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

struct IndexManifest {
    struct Segment {
        std::uint64_t number, sum;
        std::uint64_t gone, gone_sum;
    };
    std::string analyzer = {};
    std::size_t passage_tokens = 0;  // 0: whole documents
    std::uint64_t codec = 0;
    Bm25Formula formula = {};
    std::uint64_t next = 1;
    std::vector<Segment> segments = {};
};

inline std::filesystem::path manifest_file(const std::filesystem::path& folder) { return folder / "index"; }
inline std::filesystem::path segment_file(const std::filesystem::path& folder, std::uint64_t number) {
    return folder / (std::to_string(number) + ".segment");
}
inline std::filesystem::path gone_file(const std::filesystem::path& folder, std::uint64_t number) {
    return folder / (std::to_string(number) + ".gone");
}

inline std::uint64_t text_sum(std::string_view text) noexcept { return Fingerprint::of(text); }

inline std::string shortest(double number) {
    char text[64];
    return {text, std::to_chars(text, text + sizeof(text), number).ptr};
}

inline std::string manifest_text(const IndexManifest& manifest) {
    std::string text = "flashback index 1\nanalyzer " + manifest.analyzer + "\npassages " +
                       std::to_string(manifest.passage_tokens) + " of " + std::to_string(manifest.codec) + "\nformula " +
                       shortest(manifest.formula.k1) + ' ' + shortest(manifest.formula.b) + "\nnext " +
                       std::to_string(manifest.next) + '\n';
    for (const IndexManifest::Segment& its : manifest.segments) {
        text += "segment " + std::to_string(its.number) + ' ' + std::to_string(its.sum) + " without " +
                std::to_string(its.gone) + ' ' + std::to_string(its.gone_sum) + '\n';
    }
    return text + "sum " + std::to_string(text_sum(text)) + '\n';
}

/// Reads lines of words and numbers, and refuses what is none.
class ManifestReader {
public:
    ManifestReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

    [[noreturn]] void refuse(std::string_view expected) const {
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' is damaged, or no list of the files of an index: expected ",
                        expected);
    }
    bool at_end() const noexcept { return text_.empty(); }
    bool starts_with(std::string_view word) const noexcept { return text_.starts_with(word); }
    std::size_t left() const noexcept { return text_.size(); }
    void expect(std::string_view word) {
        if (!text_.starts_with(word)) refuse(word);
        text_.remove_prefix(word.size());
    }
    template <class Number>
    Number number() {
        Number value{};
        const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
        if (error != std::errc{}) refuse("a number");
        text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
        return value;
    }
    std::string line() {
        const std::size_t end = text_.find('\n');
        if (end == text_.npos) refuse("a whole line");
        const std::string found{text_.substr(0, end)};
        text_.remove_prefix(end);
        return found;
    }

private:
    std::string_view text_;
    const std::string& name_;
};

inline IndexManifest parse_manifest(std::string_view text, const std::string& name) {
    IndexManifest manifest;
    ManifestReader in{text, name};
    in.expect("flashback index ");
    if (!in.starts_with("1\n"))
        FLASHBACK_THROW(ErrorCode::unsupported, "'", name, "' has version '", printable(in.line()),
                        "' of an index, expected 1");
    in.expect("1\nanalyzer ");
    manifest.analyzer = in.line();
    in.expect("\npassages ");
    manifest.passage_tokens = in.number<std::size_t>();
    in.expect(" of ");
    manifest.codec = in.number<std::uint64_t>();
    in.expect("\nformula ");
    manifest.formula.k1 = in.number<double>();
    in.expect(" ");
    manifest.formula.b = in.number<double>();
    in.expect("\nnext ");
    manifest.next = in.number<std::uint64_t>();
    in.expect("\n");
    while (in.starts_with("segment ")) {
        in.expect("segment ");
        IndexManifest::Segment& its = manifest.segments.emplace_back();
        its.number = in.number<std::uint64_t>();
        in.expect(" ");
        its.sum = in.number<std::uint64_t>();
        in.expect(" without ");
        its.gone = in.number<std::uint64_t>();
        in.expect(" ");
        its.gone_sum = in.number<std::uint64_t>();
        in.expect("\n");
    }
    const std::uint64_t sum = text_sum(text.substr(0, text.size() - in.left()));
    in.expect("sum ");
    if (in.number<std::uint64_t>() != sum) in.refuse("another checksum");
    in.expect("\n");
    if (!in.at_end()) in.refuse("no more after the checksum");
    return manifest;
}

inline IndexManifest read_manifest(const std::filesystem::path& folder) {
    if (!is_bm25_index(folder)) {
        std::error_code unknown;
        FLASHBACK_THROW(ErrorCode::io, "'", folder.string(), "' is no index: ",
                        std::filesystem::is_directory(folder, unknown) ? "it has no file 'index'" : "there is no such folder");
    }
    const MappedFile file{manifest_file(folder), FileAccess::copy};
    return parse_manifest(file.text(), manifest_file(folder).string());
}

inline std::string gone_text(const Deletions& deletions, std::size_t documents) {
    std::string text = "flashback removed documents 1\n";
    for (std::size_t d = 0; d < documents; ++d) {
        if (deletions.has(d)) text += std::to_string(d) + '\n';
    }
    return text;
}

inline void read_gone(const std::filesystem::path& path, std::uint64_t expected, HeldSegment& segment) {
    const MappedFile file{path, FileAccess::copy};
    const std::string name = path.string();
    ManifestReader in{file.text(), name};
    if (text_sum(file.text()) != expected) in.refuse("another checksum");
    in.expect("flashback removed documents 1\n");
    while (!in.at_end()) {
        const auto document = in.number<std::size_t>();
        if (document >= segment.segment.documents()) in.refuse("documents of its segment only");
        segment.deletions.add(document);
        in.expect("\n");
    }
}

/// Refuses another file than the one that was named, and reads which documents of it are gone.
inline void check_segment(const std::filesystem::path& folder, const IndexManifest::Segment& its, HeldSegment& held) {
    if (held.segment.footer().checksum != its.sum)
        FLASHBACK_THROW(ErrorCode::format, "'", held.name,
                        "' is damaged, or is not the file of this index: its end has another checksum");
    if (its.gone != 0) read_gone(gone_file(folder, its.gone), its.gone_sum, held);
}

/// Opens what a manifest names.
inline void open_segments(const std::filesystem::path& folder, const IndexManifest& manifest, FileAccess access,
                          std::deque<HeldSegment>& held) {
    for (const IndexManifest::Segment& its : manifest.segments) {
        const std::filesystem::path path = segment_file(folder, its.number);
        held.emplace_back(MappedFile{path, access}, path.string());
        check_segment(folder, its, held.back());
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

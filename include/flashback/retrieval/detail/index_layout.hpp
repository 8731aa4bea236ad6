/// \file How a segment of an index lies in memory, and in its file.
///
/// A segment begins with `FBINDEX1`; sections follow, each at a multiple of 8 bytes, then a footer. What it is for:
///
/// | section   | what it holds                                                                        |
/// |-----------|--------------------------------------------------------------------------------------|
/// | stored    | of each document id and title, of each passage id (if it has its own), text, tokens  |
/// | documents | StoredDocument each                                                                  |
/// | passages  | StoredPassage each                                                                   |
/// | lengths   | u32: terms of each passage                                                           |
/// | by_id     | u32: the documents in the order of their ids                                         |
/// | postings  | of each term: blocks of 128, gaps packed, then counts packed; the rest as varints    |
/// | blocks    | PostingBlockEntry of each full block, term after term                                |
/// | words     | the bytes of all terms                                                               |
/// | terms     | TermEntry each, in the order of their bytes                                          |
#pragma once

#include "flashback/core/fingerprint.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view index_magic = "FBINDEX1";
inline constexpr std::size_t index_alignment = 8;

struct StoredDocument {
    std::uint64_t at;  // in `stored`: id, title
    std::uint32_t id_bytes, title_bytes;
    std::uint32_t first_passage, passages;
};

struct StoredPassage {
    std::uint64_t at;                // in `stored`: tokens (a multiple of 4), id, text
    std::uint32_t tokens, id_bytes;  // no bytes: it has the id of its document
    std::uint32_t text_bytes, document;
};

/// A full block of postings.
struct PostingBlockEntry {
    std::uint32_t last;    // passage
    std::uint32_t at;      // bytes behind the first of the term
    std::uint16_t impact;  // see impact_steps
    std::uint8_t gap_bits, count_bits;
};

struct TermEntry {
    std::uint64_t at;     // in `postings`
    std::uint32_t count;  // passages that have it
    std::uint32_t first_block;
    std::uint32_t word;  // in `words`
    std::uint16_t word_bytes;
    std::uint16_t impact;  // of all its postings
};

/// Impacts are tf / (tf + norm), the part of a score that lies in [0, 1), rounded up to a multiple of 1 / impact_steps.
inline constexpr double impact_steps = 65535;

enum class IndexSection : std::uint8_t { stored, documents, passages, lengths, by_id, postings, blocks, words, terms };
inline constexpr std::size_t index_sections = 9;

struct SectionEntry {
    std::uint64_t at, bytes, checksum;
};

/// The end of a segment. Numbers of things follow from the sizes of their sections.
struct IndexFooter {
    std::array<SectionEntry, index_sections> sections;
    std::uint64_t total_length;  // terms of all passages
    std::uint64_t most_length;   // of the longest
    double k1, b, average;       // what impacts were computed with
    std::uint64_t checksum;      // of what stands in front of it
    std::array<char, 8> magic;
};
static_assert(sizeof(StoredDocument) == 24 && sizeof(StoredPassage) == 24 && sizeof(PostingBlockEntry) == 12 &&
              sizeof(TermEntry) == 24);
static_assert(sizeof(IndexFooter) == 24 * index_sections + 56);

constexpr std::uint64_t padded_to_index(std::uint64_t bytes) noexcept {
    return (bytes + index_alignment - 1) / index_alignment * index_alignment;
}

/// The checksum of a section and of the zeros behind it, which does not depend on the pieces that it is given in.
class IndexSum {
public:
    void add(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            if (pending_.empty() && bytes.size() >= piece) {
                sum_.add(bytes.first(piece));
                bytes = bytes.subspan(piece);
                continue;
            }
            const std::size_t some = std::min(bytes.size(), piece - pending_.size());
            pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(some));
            bytes = bytes.subspan(some);
            if (pending_.size() == piece) {
                sum_.add(std::span<const std::byte>{pending_});
                pending_.clear();
            }
        }
    }
    std::uint64_t value() const {
        Fingerprint all = sum_;
        all.add(std::span<const std::byte>{pending_});
        return all.value();
    }

private:
    static constexpr std::size_t piece = std::size_t{1} << 16;
    Fingerprint sum_;
    std::vector<std::byte> pending_;
};

inline std::uint64_t footer_checksum(const IndexFooter& footer) noexcept {
    return Fingerprint::of(std::as_bytes(std::span{&footer, 1}).first(offsetof(IndexFooter, checksum)));
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

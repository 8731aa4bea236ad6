/// \file What an index holds.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/deletions.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The bytes of a segment, in memory or in a file, and what they say.
struct HeldSegment {
    std::variant<std::vector<std::byte>, MappedFile> memory;
    std::string name;
    IndexSegment segment;
    Deletions deletions = {};

    HeldSegment(std::vector<std::byte> bytes, std::string its_name)
        : memory(std::move(bytes)), name(std::move(its_name)), segment(std::get<std::vector<std::byte>>(memory), name) {}
    HeldSegment(MappedFile file, std::string its_name)
        : memory(std::move(file)), name(std::move(its_name)), segment(std::get<MappedFile>(memory).bytes(), name) {}
    HeldSegment(const HeldSegment&) = delete;
    HeldSegment& operator=(const HeldSegment&) = delete;

    LiveSegment live() const noexcept { return {&segment, &deletions}; }
};

/// What copies of an index share.
struct Bm25Parts {
    std::deque<HeldSegment> held = {};
    AnyAnalyzer analyzer = {};
    std::optional<Codec> codec = std::nullopt;
    ExecutorRef executor = {};

    // Of all segments. Documents that were removed count until their segment is merged.
    std::vector<LiveSegment> segments = {};
    std::vector<std::size_t> first_passage = {};  // of each segment, and the number of all
    std::size_t documents = 0;
    std::size_t gone_documents = 0;
    std::size_t gone_passages = 0;
    LengthNorms norms = {};
    std::vector<double> excess = {};  // of each segment: by how much its impacts may be too low

    /// Computes what follows from the segments.
    void complete(const Bm25Formula& formula) {
        check_formula(formula);
        std::uint64_t total = 0;
        std::uint64_t most = 0;
        first_passage.assign(1, 0);
        for (const HeldSegment& its : held) {
            segments.push_back(its.live());
            first_passage.push_back(first_passage.back() + its.segment.passages());
            documents += its.segment.documents();
            gone_documents += its.deletions.count();
            for (std::size_t d = 0; its.deletions.any() && d < its.segment.documents(); ++d)
                gone_passages += its.deletions.has(d) ? its.segment.document(d).passages : 0;
            if (gone_passages > first_passage.back()) damaged_index("its documents have more passages than there are");
            total += its.segment.footer().total_length;
            most = std::max(most, its.segment.footer().most_length);
        }
        const double average = average_length(total, first_passage.back());
        norms = LengthNorms{formula, average, most};
        for (const HeldSegment& its : held) {
            const IndexFooter& footer = its.segment.footer();
            excess.push_back(norms.excess_of({footer.k1, footer.b}, footer.average, footer.most_length));
        }
    }

    std::size_t segment_of(std::size_t passage) const {
        FLASHBACK_ASSERT(passage < first_passage.back(), "an index was asked for passage ", passage, " of ",
                         first_passage.back());
        const auto after = std::ranges::upper_bound(first_passage, passage);
        return static_cast<std::size_t>(after - first_passage.begin()) - 1;
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::detail

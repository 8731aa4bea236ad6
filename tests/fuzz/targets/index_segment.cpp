#include "fuzz/target.hpp"

#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/search_segment.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

// Whatever a segment says, it is searched for the terms that it has; what comes back lies inside of it, the best first. The file is opened as
// one that nobody verified.
FLASHBACK_FUZZ_TARGET(index_segment, .per_byte = 64, .constant = 1 << 20) {
    const detail::HeldSegment held{{bytes.begin(), bytes.end()}, "fuzz.segment"};
    const detail::IndexSegment& segment = held.segment;
    std::vector<detail::WeightedTerm> terms;
    for (const detail::TermEntry& term : segment.terms()) {
        static_cast<void>(segment.find(segment.word(term)));
        if (terms.size() < 20) terms.push_back({&term, 1e6F});
    }
    const detail::LiveSegment live = held.live();
    for (const Bm25Formula formula : {Bm25Formula{}, Bm25Formula{0, 0}}) {
        const detail::LengthNorms norms{formula, segment.footer().average,
                                        std::min<std::uint64_t>(segment.footer().most_length, 1000)};
        for (const std::size_t k : {std::size_t{2}, segment.passages()}) {
            detail::TopPassages top{{&live, 1}, k, {}};
            detail::TopPassages best{{&live, 1}, 1, {}};
            const detail::SegmentSearch search{{&segment, 0, &norms, 1, terms}, k, &top};
            const std::array<detail::SegmentSearch, 2> searches{search, {search.query, 1, &best}};
            detail::search_segment({searches.data(), k == 2 ? 2U : 1U});
            const auto found = top.sorted();
            fuzz_check(found.size() <= k, "a search finds no more than it is asked for");
            for (std::size_t i = 0; i < found.size(); ++i) {
                fuzz_check(found[i].passage < segment.passages(), "a hit is a passage");
                fuzz_check(i == 0 || found[i - 1].score >= found[i].score, "the best come first");
                static_cast<void>(segment.passage(found[i].passage));
            }
        }
    }
    segment.verify("fuzz.segment");
}

#include "fuzz/target.hpp"

#include "flashback/retrieval/trec.hpp"

#include <cmath>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

void read_judgements(std::string_view text) {
    const TrecQrels qrels = parse_qrels(text, "fuzz.qrels");
    fuzz_check(!qrels.queries.empty(), "there are judgements");
    for (const auto& query : qrels.queries) fuzz_check(!query.first.empty() && !query.second.empty(), "no query is empty");
}

void read_ranking(std::string_view text) {
    const TrecRun run = parse_run(text, "fuzz.run");
    for (const auto& query : run.rankings) {
        fuzz_check(!query.first.empty() && !query.second.empty(), "no query is empty");
        const ScoredDocument* before = nullptr;
        for (const ScoredDocument& document : query.second) {
            fuzz_check(!document.id.empty() && std::isfinite(document.score), "documents have names and finite scores");
            fuzz_check(
                !before || before->score > document.score || (before->score == document.score && before->id > document.id),
                "a ranking is sorted, and has each document once");
            before = &document;
        }
    }
}

}  // namespace

// The first byte chooses which of the two it is.
FLASHBACK_FUZZ_TARGET(trec, .per_byte = 128, .constant = 8192) {
    if (bytes.empty()) return;
    const std::string_view text = flashback_test::text_of(bytes.subspan(1));
    try {
        std::to_integer<unsigned>(bytes[0]) % 2 == 0 ? read_judgements(text) : read_ranking(text);
    } catch (const Error& error) {
        fuzz_check(error.code() == ErrorCode::format, "what is wrong is the format");
        throw;
    }
}

// The formats of TREC: what is read, what is refused with its line, and that a run is written as it is read.
#include "flashback/retrieval/trec.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace test_retrieval_trec {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void refuses_qrels(std::string_view bytes, std::string_view words) {
    check_error(ErrorCode::format, words, [&] { static_cast<void>(parse_qrels(bytes, "q.txt")); });
}

void refuses_run(std::string_view bytes, std::string_view words) {
    check_error(ErrorCode::format, words, [&] { static_cast<void>(parse_run(bytes, "r.txt")); });
}

}  // namespace

TEST_CASE("qrels in four columns, and in BEIR's three, are the same judgements") {
    const TrecQrels trec = parse_qrels(
        "\xef\xbb\xbf"
        "2 0 d1 3\r\n\n10\t0\td1\t0\n  2   0 d0  -1 \n \t\n2 Q0 d\xff 1",
        "q.txt");
    const TrecQrels beir = parse_qrels("query-id\tcorpus-id\tscore\n2\td1\t3\n10\td1\t0\n2\td0\t-1\n2\td\xff\t1\n", "q.tsv");
    CHECK(trec.queries == beir.queries);
    REQUIRE(trec.queries.size() == 2);
    CHECK(trec.queries.at("2") == TrecQrels::Grades{{"d0", -1}, {"d1", 3}, {"d\xff", 1}});
    CHECK(trec.queries.at("10") == TrecQrels::Grades{{"d1", 0}});
    // Without the whole header, its words are ids.
    CHECK(parse_qrels("query-id corpus-id score 1\n", "q").queries.at("query-id").at("score") == 1);
}

TEST_CASE("qrels: what is wrong is told with its line") {
    refuses_qrels("", "'q.txt' holds no judgement");
    refuses_qrels(" \n\n", "'q.txt' holds no judgement");
    refuses_qrels("query-id corpus-id score\n", "'q.txt' holds no judgement");
    refuses_qrels("1 0 d 1\n\n1 0 d2", "'q.txt' line 3 has 3 columns, expected 4: query 0 document grade");
    refuses_qrels("1 0 d 1 x y z z z", "'q.txt' line 1 has more than 4 columns");
    refuses_qrels("query-id corpus-id score\n1 0 d 1", "'q.txt' line 2 has more than 3 columns");
    refuses_qrels("query-id corpus-id score 1\n1 d 1", "'q.txt' line 2 has 3 columns, expected 4");
    refuses_qrels("1 d 1\n", "or a first line 'query-id corpus-id score'");
    for (const char* grade : {"x", "1.0", "1x", "+1", "nan", "2147483648", "-2147483649", "0x1"}) {
        refuses_qrels(std::string{"1 0 d "} + grade, std::string{"'q.txt' line 1 has the grade '"} + grade + "'");
    }
    CHECK(parse_qrels("1 0 d 2147483647", "q").queries.at("1").at("d") == 2147483647);
    refuses_qrels("1 0 a 1\n2 0 a 1\n1 0 a 1\n", "'q.txt' line 3 judges the document 'a' a second time for query '1'");
    refuses_qrels("1 0 \x1b[2J 1\n1 0 \x1b[2J 0\n", "the document '?[2J'");
    refuses_qrels("\x1f\x8b\x08", "'q.txt' line 1 has 1 columns");
    check_error(ErrorCode::io, "cannot open '/nowhere/q'", [] { static_cast<void>(read_qrels("/nowhere/q")); });
}

TEST_CASE("runs: the scores make the ranking, whatever the ranks say, and of equal ones the last id is first") {
    const TrecRun run = parse_run(
        "7 Q0 a 1 0.5 me\n7 Q0 c 2 0.5 you\r\n7 Q0 b 3 0.50 me\n7 Q0 z 4 -1e300 me\n\n7 Q0 y 5 1e300 me\n6 Q0 a 0 -0.0 me\n"
        "6 Q0 b x 0 me",
        "r");
    CHECK(run.tag == "me");
    REQUIRE(run.rankings.size() == 2);
    CHECK(run.rankings.at("7") == std::vector<ScoredDocument>{{"y", 1e300}, {"c", 0.5}, {"b", 0.5}, {"a", 0.5}, {"z", -1e300}});
    CHECK(run.rankings.at("6") == std::vector<ScoredDocument>{{"b", 0}, {"a", 0}});
    CHECK(parse_run("", "r").rankings.empty());
    CHECK(parse_run("\n \n", "r").rankings.empty());
}

TEST_CASE("runs: what is wrong is told with its line") {
    refuses_run("1 Q0 d 1 0.5", "'r.txt' line 1 has 5 columns, expected 6: query Q0 document rank score tag");
    refuses_run("1 Q0 d 1 0.5 t\n1 Q0 e 1 0.5 t u", "'r.txt' line 2 has more than 6 columns, expected 6");
    for (const char* score : {"x", "nan", "inf", "-inf", "1e999", "0.5x", "1,5", "+1", "-"}) {
        refuses_run(std::string{"1 Q0 d 1 "} + score + " t", std::string{"'r.txt' line 1 has the score '"} + score + "'");
    }
    refuses_run("1 Q0 a 1 2 t\n2 Q0 a 1 2 t\n1 Q0 b 1 2 t\n1 Q0 a 2 1 t",
                "'r.txt' line 4 names the document 'a' a second time for query '1'");
    check_error(ErrorCode::io, "is a folder", [] { static_cast<void>(read_run("/tmp")); });
}

TEST_CASE("A run is written in the order that evaluators see, and read again to the bit") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.trec";
    TrecRun run{"me", {{"2", {{"a", 1.0 / 3}, {"c", 5e-324}, {"b", 1.0 / 3}}}, {"1", {{"x", -0.1f}}}, {"3", {}}}};
    write_run(path, run);
    CHECK(bytes_of(path) ==
          "1 Q0 x 1 -0.10000000149011612 me\n2 Q0 b 1 0.3333333333333333 me\n2 Q0 a 2 0.3333333333333333 me\n"
          "2 Q0 c 3 5e-324 me\n");
    const TrecRun read = read_run(path);
    CHECK(read.tag == "me");
    run.rankings.erase("3");  // nothing was found: no line
    sort_ranking(run.rankings.at("2"));
    CHECK(read.rankings == run.rankings);
    CHECK(read_run(path, FileAccess::copy).rankings == run.rankings);

    const auto refused = [&](ErrorCode code, std::string_view words, const TrecRun& bad) {
        check_error(code, words, [&] { write_run(path, bad); });
        CHECK(read_run(path).rankings == run.rankings);
    };
    for (const char* id : {"", "a b", "a\tb", "a\n", "\r"}) {
        refused(ErrorCode::corpus, "cannot hold the id '", {"me", {{"1", {{id, 1}}}}});
        refused(ErrorCode::corpus, "cannot hold the id '", {"me", {{id, {{"a", 1}}}}});
        refused(ErrorCode::corpus, "cannot hold the id '", {id, {{"1", {{"a", 1}}}}});
    }
    for (const double score : {infinity, -infinity, std::nan("")})
        refused(ErrorCode::contract, "the document 'a' of query '1' has the score", {"me", {{"1", {{"b", 0}, {"a", score}}}}});
    refused(ErrorCode::contract, "query '1' has the document 'a' twice", {"me", {{"1", {{"a", 2}, {"b", 1}, {"a", 0}}}}});
    check_error(ErrorCode::io, "cannot write '/nowhere/run'", [&] { write_run("/nowhere/run", run); });
}

}  // namespace test_retrieval_trec

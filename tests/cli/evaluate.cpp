// `flashback evaluate`: a run that `search` wrote or another engine, measured and compared.
#include "cli/tool.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace flashback_test;
using doctest::Approx;
using nlohmann::json;

namespace test_cli_evaluate {

namespace {

const std::string qrels_text = "1 0 a 2\n1 0 b 1\n2 0 a 1\n3 0 a 1\n";
const std::string run_text = "1 Q0 x 1 9 t\n1 Q0 a 2 8 t\n2 Q0 a 1 5 t\n7 Q0 a 1 5 t\n";
const std::string other_text = "1 Q0 a 1 9 t\n1 Q0 b 2 8 t\n3 Q0 x 1 5 t\n3 Q0 a 2 4 t\n2 Q0 x 1 1 t\n";

}  // namespace

TEST_CASE("evaluate: all fields, and values by hand") {
    const TemporaryFolder folder;
    const std::string qrels = folder.write("qrels", qrels_text);
    const std::string run = folder.write("run", run_text);
    const json found = tool_json({"evaluate", "--run", run, "--qrels", qrels});
    CHECK(keys(found) == std::set<std::string>{"run", "queries", "missing", "unjudged", "mean"});
    CHECK(found["run"] == run);
    CHECK(found["queries"] == 2);
    CHECK(found["missing"] == 1);
    CHECK(found["unjudged"] == 1);
    CHECK(keys(found["mean"]) == std::set<std::string>{"map", "ndcg_cut_10", "P_30", "recall_100", "recip_rank"});
    CHECK(found["mean"]["map"].get<double>() == Approx((0.25 + 1) / 2));
    CHECK(found["mean"]["ndcg_cut_10"].get<double>() == Approx((2 / 1.5849625 / (2 + 1 / 1.5849625) + 1) / 2).epsilon(1e-7));
    CHECK(found["mean"]["P_30"].get<double>() == Approx(1.0 / 30));
    CHECK(found["mean"]["recall_100"].get<double>() == Approx(0.75));
    CHECK(found["mean"]["recip_rank"].get<double>() == Approx(0.75));

    const json complete = tool_json({"evaluate", "--run", run, "--qrels", qrels, "--complete", "--per-query"});
    CHECK(complete["queries"] == 3);
    CHECK(complete["missing"] == 1);
    CHECK(complete["mean"]["map"].get<double>() == Approx(1.25 / 3));
    REQUIRE(complete["per_query"].size() == 3);
    CHECK(complete["per_query"][0]["query"] == "1");
    CHECK(complete["per_query"][0]["map"].get<double>() == Approx(0.25));
    CHECK(complete["per_query"][2]["query"] == "3");
    CHECK(complete["per_query"][2]["recip_rank"] == 0);

    const Result plain = tool({"evaluate", "--run", run, "--qrels", qrels, "--per-query"});
    CHECK(plain.status == 0);
    CHECK(plain.out ==
          "         map ndcg_cut_10        P_30  recall_100  recip_rank  query\n"
          "      0.2500      0.4796      0.0333      0.5000      0.5000  1\n"
          "      1.0000      1.0000      0.0333      1.0000      1.0000  2\n"
          "      0.6250      0.7398      0.0333      0.7500      0.7500  mean of 2\n");
    CHECK(plain.err ==
          run +
              ": 2 queries; 1 judged ones have no results and are left out (--complete counts them as 0); 1 more have no "
              "judgements and are left out\n");
}

TEST_CASE("evaluate --compare: differences on the queries of both, with the same seed the same") {
    const TemporaryFolder folder;
    const std::string qrels = folder.write("qrels", qrels_text);
    const std::string run = folder.write("run", run_text);
    const std::string other = folder.write("other", other_text);
    const std::vector<std::string> compare{"evaluate", "--run", run, "--qrels", qrels, "--compare", other};
    const json found = tool_json(compare);
    CHECK(keys(found) == std::set<std::string>{"run", "queries", "missing", "unjudged", "mean", "compare", "difference"});
    CHECK(keys(found["compare"]) == std::set<std::string>{"run", "queries", "missing", "unjudged", "mean"});
    CHECK(found["compare"]["queries"] == 3);
    CHECK(found["compare"]["missing"] == 0);
    CHECK(found["difference"]["queries"] == 2);
    const json& map = found["difference"]["map"];
    CHECK(keys(map) == std::set<std::string>{"run", "compare", "difference", "low", "high", "p_value"});
    CHECK(map["run"].get<double>() == Approx(0.625));
    CHECK(map["compare"].get<double>() == Approx(0.5));
    CHECK(map["difference"].get<double>() == Approx(0.125));
    CHECK(map["low"].get<double>() == Approx(-0.75));
    CHECK(map["high"].get<double>() == Approx(1));
    CHECK(tool_json(compare) == found);
    auto seeded = compare;
    seeded.insert(seeded.end(), {"--seed", "7"});
    CHECK(tool_json(seeded)["difference"]["map"]["p_value"] != map["p_value"]);

    const Result plain = tool(compare);
    CHECK(plain.status == 0);
    CHECK(plain.out.find("on the 2 queries that count in both:\n") != std::string::npos);
    CHECK(plain.out.find("         map      0.6250      0.5000     +0.1250       -0.7500 .. +1.0000") != std::string::npos);
}

TEST_CASE("evaluate: what search wrote is read, and what is wrong is told with its line") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string queries =
        folder.write("q.jsonl", "{\"_id\":\"q1\",\"text\":\"operating system\"}\n{\"_id\":\"q2\",\"text\":\"source\"}\n");
    const std::string run = (folder.path() / "run.trec").string();
    CHECK(tool({"search", "--corpus", corpus, "--queries", queries, "--run", run}).status == 0);
    const std::string qrels =
        folder.write("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tunix\t1\nq1\tkernel\t1\nq2\tcompiler\t1\n");
    CHECK(tool_json({"evaluate", "--run", run, "--qrels", qrels})["mean"]["map"] == 1.0);

    const auto refuses = [&](const std::string& words, const std::string& run_lines, const std::string& qrels_lines) {
        refused(1, words, {"evaluate", "--run", folder.write("r", run_lines), "--qrels", folder.write("j", qrels_lines)});
    };
    refuses("line 2 has 5 columns, expected 6", "1 Q0 a 1 1 t\n1 Q0 b 1 1\n", qrels_text);
    refuses("line 1 has the score 'nan'", "1 Q0 a 1 nan t\n", qrels_text);
    refuses("line 2 names the document 'a' a second time", "1 Q0 a 1 1 t\n1 Q0 a 1 1 t\n", qrels_text);
    refuses("line 1 has the grade 'x'", run_text, "1 0 a x\n");
    refuses("holds no judgement", run_text, "");
    refuses("no query has both judgements and results", run_text, "other 0 a 1\n");
    refuses("no query has both judgements and results", "", qrels_text);
    refused(1, "cannot open '/nowhere'", {"evaluate", "--run", "/nowhere", "--qrels", qrels});
    refused(1, "the runs share no query",
            {"evaluate", "--run", folder.write("a", "1 Q0 a 1 1 t\n"), "--qrels", folder.write("b", qrels_text), "--compare",
             folder.write("c", "2 Q0 a 1 1 t\n")});
    refused(2, "--qrels", {"evaluate", "--run", run});
    refused(2, "--compare", {"evaluate", "--run", run, "--qrels", qrels, "--seed", "1"});
    const Result shown = tool({"evaluate", "--per-query", "--qrels", folder.write("h", "\x1b[2J 0 a 1\n"), "--run",
                               folder.write("k", "\x1b[2J Q0 a 1 1 t\n")});
    CHECK(shown.status == 0);
    CHECK(shown.out.find("  \ufffd[2J\n") != std::string::npos);
    CHECK(shown.out.find('\x1b') == std::string::npos);
}

}  // namespace test_cli_evaluate

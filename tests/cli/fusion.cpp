// `--fusion` of generate and ppl, and `--overflow` where a window rolls.
#include "cli/tool.hpp"

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace test_cli_fusion {

using namespace flashback_test;
using nlohmann::json;

namespace {

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// Documents that share words, so that several are found.
std::string write_documents(const TemporaryFolder& folder) {
    std::string lines;
    for (int i = 0; i < 6; ++i) {
        std::string text;
        for (int n = 0; n < 4; ++n)
            text += "The compiler number " + std::to_string(i) + " reads a program and writes part " + std::to_string(n) +
                    " of it. ";
        lines +=
            json{{"_id", "d" + std::to_string(i)}, {"title", "compiler " + std::to_string(i)}, {"text", text}}.dump() + "\n";
    }
    return folder.write("documents.jsonl", lines);
}

}  // namespace

TEST_CASE("generate --fusion: every fusion writes, branches are counted, and one passage needs none") {
    const TemporaryFolder folder;
    const std::string corpus = write_documents(folder);
    const auto run = [&](const std::vector<std::string>& more, const char* passages = "3") {
        return tool_json(with({"generate", "--corpus", corpus, "--prompt", "A compiler reads a program and", "--max-tokens",
                               "20", "--ignore-eos", "--passages", passages, "--passage-tokens", "16"},
                              more));
    };
    const json plain = run({});
    CHECK(plain["fusion"] == "each");
    CHECK(plain["branches"].empty());
    for (const char* layout : {"append", "prepend", "aside"}) {
        CAPTURE(layout);
        for (const auto& [fusion, branches] : std::vector<std::pair<std::string, std::size_t>>{{"concatenate", 0},
                                                                                               {"each", 0},
                                                                                               {"first", 0},
                                                                                               {"mean", 3},
                                                                                               {"mixture", 3},
                                                                                               {"sequence", 3},
                                                                                               {"contrast", 2}}) {
            const std::string& name = fusion;
            CAPTURE(name);
            const json found = run({"--layout", layout, "--fusion", fusion});
            CHECK(found["fusion"] == fusion);
            CHECK(found["tokens"].size() == 20);
            REQUIRE(found["branches"].size() == branches);
            const json& stats = found["stats"];
            int in_branches = 0;
            for (const json& branch : found["branches"]) {
                CHECK(branch["requested"] == branch["evaluated"].get<int>() + branch["reused"].get<int>());
                in_branches += branch["evaluated"].get<int>();
            }
            CHECK(in_branches <= stats["evaluated"]);
            CHECK(stats["requested"] == stats["evaluated"].get<int>() + stats["reused"].get<int>());
        }
    }
    const auto one = [&](const char* fusion) { return run({"--fusion", fusion}, "1")["tokens"]; };
    CHECK(one("mean") == one("each"));
    CHECK(one("first") == run({"--fusion", "first"})["tokens"]);
    CHECK(run({"--fusion", "contrast", "--alpha", "0"})["tokens"] == run({"--fusion", "each"})["tokens"]);
    CHECK(run({"--fusion", "mixture", "--score-temperature", "4"})["score_temperature"] == 4);
    const Result words = tool(
        {"generate", "--corpus", corpus, "--prompt", "A compiler", "--max-tokens", "4", "--passages", "2", "--fusion", "mean"});
    CHECK(words.status == 0);
    CHECK(words.err.find("  2 branches, which evaluated ") != std::string::npos);
}

TEST_CASE("ppl --fusion: fields, branches, and fusions that are the same with one passage") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const auto run = [&](const std::vector<std::string>& more, const char* passages = "3") {
        return tool_json(with({"ppl", "--text", documents, "--init", "96", "--context", "48", "--passage-tokens", "16",
                               "--corpus", documents, "--strides", "8", "--layout", "append", "--passages", passages},
                              more));
    };
    const json usual = run({});
    CHECK(usual["fusion"] == "concatenate");
    std::set<double> nats;
    for (const char* fusion : {"concatenate", "each", "first", "mean", "mixture", "sequence", "contrast"}) {
        CAPTURE(fusion);
        const json found = run({"--fusion", fusion, "--markers", "on"});
        CHECK(std::isfinite(found["nats_per_token"].get<double>()));
        CHECK(found["evaluated"].get<int>() + found["reused"].get<int>() == found["requested"].get<int>());
        nats.insert(found["nats_per_token"].get<double>());
    }
    CHECK(nats.size() == 7);
    CHECK(run({"--fusion", "mean"})["branches"].size() == 3);
    const auto one = [&](const char* fusion) { return run({"--fusion", fusion}, "1")["nats_per_token"]; };
    for (const char* fusion : {"each", "first", "mean", "mixture", "sequence"}) CHECK(one(fusion) == one("concatenate"));
}

TEST_CASE("generate --overflow: windows that roll, and passages that are cut") {
    const TemporaryFolder folder;
    const std::string corpus = write_documents(folder);
    const auto run = [&](const char* overflow) {
        return tool_json({"generate", "--corpus", corpus, "--prompt", "A compiler", "--max-tokens", "560", "--ignore-eos",
                          "--overflow", overflow});
    };
    const json anew = run("drop-oldest");
    for (const char* overflow : {"sinks", "rotate"}) {
        CAPTURE(overflow);
        const json found = run(overflow);
        CHECK(found["tokens"].size() == 560);
        CHECK(found["stats"]["dropped"] > 0);
        CHECK(found["stats"]["requested"] == found["stats"]["evaluated"].get<int>() + found["stats"]["reused"].get<int>());
        if (std::string{overflow} == "rotate") CHECK(found["stats"]["evaluated"] < anew["stats"]["evaluated"]);
    }
    const json stopped = run("stop");
    const json cut = run("shorten");
    CHECK(cut["stop"] == "window_full");
    CHECK(cut["stats"]["shortened"] > 0);
    CHECK(cut["tokens"].size() > stopped["tokens"].size());
}

TEST_CASE("--fusion: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string corpus = write_documents(folder);
    const auto check = [&](const std::string& words, const std::vector<std::string>& more) {
        refused(2, words, with({"generate", "--prompt", "x", "--corpus", corpus}, more));
        refused(2, words, with({"ppl", "--text", corpus, "--corpus", corpus}, with({"--layout", "append"}, more)));
    };
    check("--fusion: sum not in {concatenate,each,first,mean,mixture,sequence,contrast}", {"--fusion", "sum"});
    check("--alpha needs --fusion contrast, found --fusion mean", {"--fusion", "mean", "--alpha", "1"});
    check("--alpha needs --fusion contrast, found none", {"--alpha", "1"});
    check("--score-temperature needs --fusion mixture or sequence, found --fusion contrast",
          {"--fusion", "contrast", "--score-temperature", "2"});
    check("--score-temperature: found 0, expected", {"--fusion", "mixture", "--score-temperature", "0"});
    check("--alpha: found nan, expected", {"--fusion", "contrast", "--alpha", "nan"});
    refused(2, "--fusion needs passages, found --layout none",
            {"generate", "--prompt", "x", "--layout", "none", "--fusion", "mean"});
}

}  // namespace test_cli_fusion

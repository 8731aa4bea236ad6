// The JSON that other programs read: names, types and meaning of every field.
#include "cli/tool.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace {

std::vector<std::string> generate(const std::string& corpus, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{
        "generate", "--corpus", corpus, "--prompt", "The kernel of an operating system", "--max-tokens", "40", "--ignore-eos"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

}  // namespace

TEST_CASE("generate: all fields, and counts that add up") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    for (const char* layout : {"append", "prepend"}) {
        const json run = tool_json(generate(corpus, {"--layout", layout}));
        CHECK(keys(run) == std::set<std::string>{"text", "tokens", "prompt_tokens", "stop", "layout", "repeat", "schedule",
                                                 "query", "cache", "stats", "retriever", "retrieved", "fusion", "branches"});
        CHECK(run["layout"] == layout);
        CHECK(run["stop"] == "max_tokens");
        CHECK(run["tokens"].size() == 40);
        CHECK(run["prompt_tokens"] ==
              1 + tool_json({"tokenize", "--text", "The kernel of an operating system"})["tokens"].size());
        CHECK(run["retriever"]["queries"] == 3);
        CHECK(run["retriever"]["failures"] == 0);
        CHECK(run["retriever"]["seconds"]["max"] >= run["retriever"]["seconds"]["p50"]);
        const json& stats = run["stats"];
        CHECK(keys(stats) == std::set<std::string>{"retrievals", "rewinds", "rewound", "requested", "evaluated", "reused",
                                                   "discarded", "dropped", "shortened", "seconds"});
        CHECK(keys(stats["seconds"]) == std::set<std::string>{"retrieve", "prefill", "decode", "total"});
        CHECK(stats["requested"] == stats["evaluated"].get<int>() + stats["reused"].get<int>());
        CHECK(stats["retrievals"] == 3);
        REQUIRE(run["retrieved"].size() == 3);
        int evaluated = 40 - 3;  // single steps: one for each token but those that follow a plan
        for (std::size_t i = 0; i < 3; ++i) {
            const json& r = run["retrieved"][i];
            CHECK(keys(r) == std::set<std::string>{"at", "query", "id", "title", "score", "text", "passage_tokens", "evaluated",
                                                   "reused", "discarded", "seconds"});
            CHECK(r["at"] == 16 * i);
            evaluated += r["evaluated"].get<int>();
        }
        CHECK(run["retrieved"][0]["query"] == " The kernel of an operating system");
        CHECK(run["retrieved"][0]["id"] == "kernel");
        CHECK(run["retrieved"][0]["text"].get<std::string>().starts_with("kernel\nThe part of an operating system"));
        CHECK(stats["evaluated"] == evaluated);
    }
}

TEST_CASE("generate --repeat: the newest tokens stand behind each passage once more, and that is all that is evaluated more") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const json plain = tool_json(generate(corpus, {"--layout", "append"}));
    const json repeated = tool_json(generate(corpus, {"--layout", "append", "--repeat", "4"}));
    CHECK(plain["repeat"] == 0);
    CHECK(repeated["repeat"] == 4);
    CHECK(repeated["retrieved"][0]["evaluated"] == plain["retrieved"][0]["evaluated"].get<int>() + 4);
    CHECK(repeated["tokens"] == tool_json(generate(corpus, {"--repeat", "4", "--reuse", "none"}))["tokens"]);
}

TEST_CASE("generate: with and without reuse, and with any number of threads, the tokens are the same") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    for (const char* layout : {"append", "prepend"}) {
        const json reused =
            tool_json(generate(corpus, {"--layout", layout, "--temperature", "0.8", "--top-p", "0.95", "--seed", "3"}));
        const json recomputed = tool_json(generate(
            corpus, {"--layout", layout, "--temperature", "0.8", "--top-p", "0.95", "--seed", "3", "--reuse", "none"}));
        const json threads = tool_json(
            generate(corpus, {"--layout", layout, "--temperature", "0.8", "--top-p", "0.95", "--seed", "3", "--threads", "3"}));
        CHECK(reused["tokens"] == recomputed["tokens"]);
        CHECK(reused["tokens"] == threads["tokens"]);
        CHECK(reused["stats"]["reused"] > 0);
        CHECK(recomputed["stats"]["reused"] == 0);
        CHECK(recomputed["stats"]["evaluated"] == recomputed["stats"]["requested"]);
        CHECK(recomputed["stats"]["requested"] == reused["stats"]["requested"]);
    }
}

TEST_CASE("generate: without --json the text streams to standard output and the summary to standard error") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const json run = tool_json(generate(corpus));
    const Result plain = tool(generate(corpus));
    CHECK(plain.status == 0);
    CHECK(plain.out == run["text"].get<std::string>() + "\n");
    CHECK(plain.err.find("evaluated") != std::string::npos);
}

TEST_CASE("generate: a closed book, markers, several passages, none found, and a prompt from standard input") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const json closed =
        tool_json({"generate", "--layout", "none", "--prompt", "A compiler is a program that", "--max-tokens", "8"});
    CHECK(closed["stats"]["retrievals"] == 0);
    CHECK(closed["retrieved"].empty());
    CHECK(closed["text"] == " is not a program that is not a");

    const json plain = tool_json(generate(corpus));
    const json marked = tool_json(generate(corpus, {"--markers", "on"}));
    CHECK(tool_json(generate(corpus, {"--markers", "off"}))["tokens"] == plain["tokens"]);
    CHECK(marked["retrieved"][0]["evaluated"] == plain["retrieved"][0]["evaluated"].get<int>() + 2);
    for (const auto& token : marked["tokens"]) CHECK(token < 4096);

    const json several = tool_json(generate(corpus, {"--passages", "2"}));
    REQUIRE(several["retrieved"][0]["passages"].size() == 2);
    CHECK(several["retrieved"][0]["passages"][0]["id"] == several["retrieved"][0]["id"]);
    CHECK(several["retrieved"][0]["passages"][1]["id"] == "unix");

    const json nothing =
        tool_json({"generate", "--corpus", corpus, "--prompt", "xyzzy", "--max-tokens", "2", "--markers", "on"});
    CHECK(nothing["retrieved"][0]["id"].is_null());
    CHECK(nothing["retrieved"][0]["passage_tokens"] == 0);
    CHECK(nothing["retrieved"][0]["evaluated"] == nothing["prompt_tokens"]);

    const Result piped =
        tool({"generate", "--layout", "none", "--prompt-file", "-", "--max-tokens", "8"}, "A compiler is a program that");
    CHECK(piped.out == " is not a program that is not a\n");
}

TEST_CASE("generate: a stop string ends the text in front of it, streamed or not, wherever the tokens are cut") {
    const std::vector<std::string> arguments{"generate",     "--layout", "none", "--prompt", "A compiler is a program that",
                                             "--max-tokens", "8"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), arguments.begin(), arguments.end());
        return more;
    };
    struct Case {
        std::string stop;
        std::string text;
    };
    for (const Case& c :
         {Case{" program", " is not a"}, {"t a prog", " is no"}, {"gram that is", " is not a pro"}, {" is not", ""}}) {
        CAPTURE(c.stop);
        const json run = tool_json(with({"--stop", c.stop}));
        CHECK(run["stop"] == "stop_string");
        CHECK(run["text"] == c.text);
        CHECK(tool(with({"--stop", c.stop})).out == c.text + "\n");
    }
    const json first = tool_json(with({"--stop", "that", "--stop", "zebra", "--stop", "not"}));
    CHECK(first["text"] == " is ");
    const json none = tool_json(with({"--stop", "zebra"}));
    CHECK(tool_json(with({"--stop", "[zebra,not]"}))["tokens"] == none["tokens"]);
    CHECK(none["stop"] == "max_tokens");
    CHECK(none["text"] == " is not a program that is not a");
    CHECK(tool(with({"--stop", "a zebra"})).out == " is not a program that is not a\n");
}

TEST_CASE("generate: a full window stops, or drops the oldest text") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    for (const auto& arguments :
         {std::vector<std::string>{"--layout", "none"}, std::vector<std::string>{"--corpus", corpus, "--layout", "append"},
          std::vector<std::string>{"--corpus", corpus, "--layout", "prepend"}}) {
        const auto run = [&](const char* overflow) {
            std::vector<std::string> all{"generate",     "--prompt", "The kernel of an operating system",
                                         "--max-tokens", "560",      "--ignore-eos",
                                         "--overflow",   overflow};
            all.insert(all.end(), arguments.begin(), arguments.end());
            return tool_json(all);
        };
        const json stopped = run("stop");
        CHECK(stopped["stop"] == "window_full");
        CHECK(stopped["tokens"].size() < 512);
        CHECK(stopped["stats"]["dropped"] == 0);
        const json dropped = run("drop-oldest");
        CHECK(dropped["stop"] == "max_tokens");
        REQUIRE(dropped["tokens"].size() == 560);
        CHECK(std::equal(stopped["tokens"].begin(), stopped["tokens"].end(), dropped["tokens"].begin()));
        const json& stats = dropped["stats"];
        CHECK(stats["dropped"] > 0);
        CHECK(stats["requested"] == stats["evaluated"].get<int>() + stats["reused"].get<int>());
    }
}

TEST_CASE("generate: every sampling option has its effect, and the neutral values have none") {
    const auto tokens = [](std::vector<std::string> more) {
        std::vector<std::string> all{"generate",     "--layout", "none",         "--prompt", "A compiler is a program that",
                                     "--max-tokens", "24",       "--ignore-eos", "--seed",   "5"};
        all.insert(all.end(), more.begin(), more.end());
        return tool_json(all)["tokens"];
    };
    const json greedy = tokens({});
    const json sampled = tokens({"--temperature", "1"});
    CHECK(sampled != greedy);
    CHECK(tokens({"--temperature", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--repetition-penalty", "1"}) ==
          sampled);
    CHECK(tokens({"--temperature", "1", "--top-k", "1"}) == greedy);
    CHECK(tokens({"--temperature", "1", "--min-p", "1"}) == greedy);
    CHECK(tokens({"--temperature", "1", "--top-p", "0.00001"}) == greedy);
    CHECK(tokens({"--temperature", "1", "--top-k", "3"}) != sampled);
    const json varied = tokens({"--repetition-penalty", "1000"});
    CHECK(varied != greedy);
    CHECK(std::set<int>(varied.begin(), varied.end()).size() == varied.size());  // nothing is said twice
    CHECK(tokens({"--repetition-penalty", "1000", "--repetition-window", "0"}) == greedy);
}

TEST_CASE("inspect: what the file holds, and a fingerprint of weights and hyper-parameters") {
    const json model = tool_json({"inspect"});
    CHECK(keys(model) == std::set<std::string>{"file", "format", "architecture", "name", "hyper_parameters", "weights",
                                               "vocabulary", "fingerprint", "obstacle"});
    CHECK(model["architecture"] == "llama");
    CHECK(model["obstacle"].is_null());
    CHECK(model["hyper_parameters"]["embedding_length"] == 256);
    CHECK(model["weights"]["tensors"] == 56);
    CHECK(model["weights"]["types"]["F16"]["weights"] == 5472768);
    CHECK(model["weights"]["bytes"] == 2 * 5472768 + 4 * model["weights"]["types"]["F32"]["weights"].get<int>());
    CHECK(model["vocabulary"]["tokens"] == 4098);
    CHECK(model["vocabulary"]["markers"] == json({4096, 4097}));
    json from_file = tool_json({"inspect", "--model", FLASHBACK_TEST_MODEL, "--threads", "3"});
    CHECK(from_file["file"] == FLASHBACK_TEST_MODEL);
    from_file["file"] = model["file"];
    CHECK(from_file == model);

    std::ifstream file{FLASHBACK_TEST_MODEL, std::ios::binary};
    std::string bytes{std::istreambuf_iterator<char>{file}, {}};
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    const TemporaryFolder folder;
    CHECK(tool_json({"inspect", "--model", folder.write("other.gguf", bytes)})["fingerprint"] != model["fingerprint"]);

    const Result text = tool({"inspect", "--tensors"});
    CHECK(text.status == 0);
    CHECK(text.out.find("blk.5.ffn_down.weight") != std::string::npos);
    CHECK(text.out.find(model["fingerprint"].get<std::string>()) != std::string::npos);
}

TEST_CASE("score: natural logarithms of each token and of the likeliest") {
    const json text = tool_json({"score", "--text", "A compiler is", "--top", "3"});
    CHECK(keys(text) == std::set<std::string>{"tokens", "logprobs", "top", "cache"});
    CHECK(text["tokens"] == json({1, 324, 2882, 305}));
    CHECK(text["logprobs"].size() == 4);
    CHECK(text["logprobs"][0].is_null());
    REQUIRE(text["top"].size() == 4);
    CHECK(text["top"][3].size() == 3);
    CHECK(text["top"][3][0][0] == 262);
    CHECK(std::exp(text["top"][3][0][1].get<double>()) == doctest::Approx(0.118024).epsilon(0.01));
    CHECK(tool_json({"score", "--tokens", "1,324,2882,305", "--top", "3"}) == text);

    const json all = tool_json({"score", "--tokens", "1,324", "--top", "4098"});
    double total = 0;
    for (const auto& entry : all["top"][0]) {
        total += std::exp(entry[1].get<double>());
        if (entry[0] == 324) CHECK(entry[1] == all["logprobs"][1]);
    }
    CHECK(total == doctest::Approx(1.0).epsilon(1e-9));
}

TEST_CASE("tokenize: there and back, with BOS only when asked") {
    const std::string text = "A compiler\n is a  program \xe2\x80\x94 na\xc3\xafve";
    const json there = tool_json({"tokenize", "--text", text});
    CHECK(keys(there) == std::set<std::string>{"tokens", "pieces"});
    CHECK(there["tokens"].size() == there["pieces"].size());
    CHECK(there["pieces"][0] ==
          "\xe2\x96\x81"
          "A");
    std::string ids;
    for (const auto& token : there["tokens"]) ids += (ids.empty() ? "" : ",") + token.dump();
    CHECK(tool_json({"tokenize", "--decode", ids})["text"] == text);
    CHECK(tool({"tokenize", "--decode", ids}).out == text + "\n");
    CHECK(tool({"tokenize", "--text", text}).out == ids + "\n");
    CHECK(tool_json({"tokenize", "--text", "x", "--bos"})["tokens"][0] == 1);
    CHECK(tool_json({"tokenize", "--text", "<s>"})["tokens"][0] != 1);
    CHECK(tool_json({"tokenize", "--text", ""})["tokens"].empty());
}

TEST_CASE("search: hits, and a TREC run") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const json found = tool_json({"search", "--corpus", corpus, "--query", "operating system", "--top-k", "2"});
    CHECK(keys(found) == std::set<std::string>{"documents", "passages", "hits"});
    CHECK(found["documents"] == 3);
    CHECK(found["passages"] == 3);
    REQUIRE(found["hits"].size() == 2);
    CHECK(keys(found["hits"][0]) == std::set<std::string>{"id", "score", "title", "text"});
    CHECK(found["hits"][0]["score"] >= found["hits"][1]["score"]);
    const json cut = tool_json({"search", "--corpus", corpus, "--query", "system", "--passage-tokens", "8"});
    CHECK(cut["passages"] > 3);
    CHECK(tool_json({"search", "--corpus", corpus, "--query", "system", "--whole", "--passage-tokens", "8"})["passages"] == 3);
    CHECK(tool_json({"search", "--corpus", corpus, "--query", "xyzzy"})["hits"].empty());

    const std::string queries = folder.write(
        "q.jsonl", "{\"_id\":\"q1\",\"text\":\"operating system\"}\n{\"_id\":\"q2\",\"text\":\"translates source\"}\n");
    const std::string run = (folder.path() / "run.trec").string();
    for (const bool whole : {true, false}) {
        std::vector<std::string> arguments{"search", "--corpus",         corpus, "--queries", queries, "--run",
                                           run,      "--passage-tokens", "8"};
        if (whole) arguments.emplace_back("--whole");
        CHECK(tool_json(arguments)["queries"] == 2);
        std::ifstream lines{run};
        std::string query, q0, document, tag;
        int rank = 0, count = 0;
        double score = 0;
        std::set<std::string> pairs;
        while (lines >> query >> q0 >> document >> rank >> score >> tag) {
            CHECK(q0 == "Q0");
            CHECK(score > 0);
            CHECK(pairs.insert(query + ' ' + document).second);
            if (query == "q2") CHECK(document == "compiler");
            ++count;
        }
        CHECK(count == 3);
    }
}

TEST_CASE("--help shows an example for each command, and --version a version") {
    for (const char* command : {"generate", "inspect", "score", "ppl", "bench", "convert", "convert-adapter", "quantize",
                                "tokenize", "search", "evaluate", "finetune", "pretrain"}) {
        const Result help = tool({command, "--help"});
        CHECK(help.status == 0);
        CHECK(help.out.find(std::string{"Example:\n  flashback "} + command) != std::string::npos);
    }
    const std::string version = tool({"--version"}).out;
    CHECK(version.starts_with("flashback 0."));
    // It says what became of the tiles.
    CHECK((version.find(" (amx") == std::string::npos) == (version.find(" tiles") == std::string::npos));
    CHECK(tool({"--help"}).out.find("generate") != std::string::npos);
}

TEST_CASE("text comes from standard input, from a pipe, or from a file, with the same outcome") {
    const TemporaryFolder folder;
    const std::string text = "an operating system";
    const std::string tokens = tool({"tokenize", "--text", text}).out;
    CHECK(tool({"tokenize", "--text-file", folder.write("text", text)}).out == tokens);
    CHECK(tool({"tokenize", "--text-file", "-"}, text).out == tokens);
    const std::string piped = "printf '%s' " + quoted(text) + " | " + quoted(FLASHBACK_TOOL);
    CHECK(shell(piped + " tokenize --text-file /dev/stdin").out == tokens);

    const std::string corpus = write_corpus(folder);
    const Result found = tool({"search", "--corpus", corpus, "--query", text});
    CHECK(found.out.find("kernel") != std::string::npos);
    CHECK(tool({"search", "--corpus", corpus, "--query-file", "-"}, text).out == found.out);
    CHECK(shell(piped + " search --corpus " + quoted(corpus) + " --query-file /dev/stdin").out == found.out);
}

TEST_CASE("the examples that --help shows work in the folder of the sources, and find or say something") {
    const std::string there = "cd " + quoted(FLASHBACK_TEST_DATA "/../..") +
                              " && PATH=" + quoted(std::filesystem::path{FLASHBACK_TOOL}.parent_path().string()) + ":$PATH && ";
    for (const char* command : {"generate", "inspect", "score", "tokenize", "search"}) {
        std::istringstream help{tool({command, "--help"}).out};
        int examples = 0;
        for (std::string line; std::getline(help, line);) {
            if (!line.starts_with("  flashback ")) continue;
            CAPTURE(line);
            const Result result = shell(there + line);
            CHECK(result.status == 0);
            CHECK(result.out.find_first_not_of(" \n") != std::string::npos);
            ++examples;
        }
        CHECK(examples > 0);
    }
}

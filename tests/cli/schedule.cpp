// `--schedule` and `--query` of generate, ppl and bench.
#include "cli/tool.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace {

std::string write_long_documents(const TemporaryFolder& folder) {
    const std::vector<std::string> things{"compiler", "kernel", "linker", "shell", "editor", "cache", "socket", "thread"};
    std::string lines;
    for (std::size_t i = 0; i < things.size(); ++i) {
        const std::string& other = things[(i + 3) % things.size()];
        std::string text;
        for (std::size_t n = 0; n < 4; ++n) {
            text += "The " + things[i] + " is a part of the system number " + std::to_string(n * 8 + i) +
                    ", and it works with the " + other + " that users of the " + things[i] + " know well. ";
        }
        lines += json{{"_id", "d" + std::to_string(i)}, {"title", things[i]}, {"text", text}}.dump() + "\n";
    }
    return folder.write("documents.jsonl", lines);
}

std::vector<std::string> extended(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// A generation with a corpus.
std::vector<std::string> generation(const std::string& corpus, const std::vector<std::string>& more) {
    return extended({"generate", "--corpus", corpus, "--prompt", compiler_text, "--max-tokens", "40", "--ignore-eos",
                     "--temperature", "0.8"},
                    more);
}

/// A text that is measured in two windows.
std::vector<std::string> measurement(const std::string& documents, const std::vector<std::string>& more) {
    return extended({"ppl", "--text", documents, "--corpus", documents, "--init", "192", "--context", "64", "--passage-tokens",
                     "32", "--strides", "12", "--hold", "96", "--layout", "append"},
                    more);
}

}  // namespace

TEST_CASE("generate: a stride and its schedule are one, and each result names both texts") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const json usual = tool_json(generation(corpus, {}));
    CHECK(usual["schedule"] == "stride:16");
    CHECK(usual["query"] == "last:32");
    CHECK(usual["stats"]["retrievals"] == 3);
    CHECK(usual["stats"]["rewinds"] == 0);
    CHECK(usual["stats"]["rewound"] == 0);
    CHECK(tool_json(generation(corpus, {"--schedule", "stride:16", "--query", "last:32"}))["tokens"] == usual["tokens"]);

    const json eight = tool_json(generation(corpus, {"--stride", "8", "--query-tokens", "16"}));
    const json named = tool_json(generation(corpus, {"--schedule", "stride:8", "--query", "last:16"}));
    CHECK(eight["schedule"] == "stride:8");
    CHECK(eight["query"] == "last:16");
    CHECK(eight["stats"]["retrievals"] == 5);
    CHECK(named["tokens"] == eight["tokens"]);
    CHECK(named["stats"]["evaluated"] == eight["stats"]["evaluated"]);
    CHECK(tool_json(generation(corpus, {"--schedule", "never"}))["stats"]["retrievals"] == 0);
    CHECK(tool_json(generation(corpus, {"--schedule", "once"}))["stats"]["retrievals"] == 1);

    const json none = tool_json({"generate", "--layout", "none", "--prompt", "x", "--max-tokens", "2"});
    CHECK(none["schedule"] == "never");
    CHECK(none["query"] == nullptr);
}

TEST_CASE("generate: every schedule gives the same text again, on any number of threads, and says what it took back") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    for (const char* schedule :
         {"entropy:2", "surprisal:4", "margin:0.1", "entropy-z:1", "backoff:8", "sentence", "flare", "dragin", "etc", "ircot",
          "budget(8,stride:4)", "any(stride:32,entropy:4)", "all(stride:8,surprisal:1)", "at-most(2,stride:4)"}) {
        CAPTURE(schedule);
        const json one = tool_json(generation(corpus, {"--schedule", schedule, "--layout", "aside"}));
        const json two = tool_json(generation(corpus, {"--schedule", one["schedule"], "--layout", "aside", "--threads", "2"}));
        CHECK(one["tokens"].size() == 40);
        for (const char* same : {"tokens", "schedule", "query", "stop"}) CHECK(one[same] == two[same]);
        for (const char* same : {"retrievals", "rewinds", "rewound", "evaluated", "reused"})
            CHECK(one["stats"][same] == two["stats"][same]);
    }
    const json doubts = tool_json(generation(corpus, {"--schedule", "flare"}));
    CHECK(doubts["stats"]["rewinds"] > 0);
    CHECK(doubts["stats"]["rewound"] >= doubts["stats"]["rewinds"]);
    CHECK(doubts["query"] == nullptr);  // its own
    CHECK(tool_json(generation(corpus, {"--schedule", "flare", "--query", "sentence"}))["query"] != nullptr);

    const Result words = tool(generation(corpus, {"--schedule", "flare"}));
    CHECK(words.status == 0);
    CHECK(words.err.find(", schedule " + doubts["schedule"].get<std::string>() + ", query its own, ") != words.err.npos);
    CHECK(words.err.find(" tokens taken back in ") != words.err.npos);
}

TEST_CASE("ppl: a schedule of every stride has the digits of the strides") {
    const TemporaryFolder folder;
    const std::string documents = write_long_documents(folder);
    const auto log = (folder.path() / "log.csv").string();
    const auto log_of_strides = (folder.path() / "strides.csv").string();
    const json strides = tool_json(measurement(documents, {"--log", log_of_strides}));
    CHECK(strides["schedule"] == "stride:16");
    CHECK(strides["query"] == "last:32");
    CHECK_FALSE(strides.contains("windows"));
    const json found = tool_json(measurement(documents, {"--schedule", "stride:16", "--log", log}));
    std::set<std::string> names = keys(strides);
    names.insert({"windows", "rewinds", "rewound", "first_nats_per_token"});
    CHECK(keys(found) == names);
    for (const char* same : {"nats_per_token", "standard_error", "perplexity", "retrievals", "passages_found", "tokens",
                             "strides", "copied", "nats_by_place", "schedule", "query", "hold", "context"})
        CHECK(found[same] == strides[same]);
    CHECK(found["windows"] == 2);
    CHECK(found["first_nats_per_token"] == found["nats_per_token"]);
    CHECK(found["rewinds"] == 0);
    CHECK(found["evaluated"].get<int>() + found["reused"].get<int>() == found["requested"].get<int>());

    const std::string rows = read_file(log);
    CHECK(rows.starts_with("at,context,nats_per_token\n192,64,"));
    CHECK(std::count(rows.begin(), rows.end(), '\n') == 13);
    CHECK(rows.find("\n208,80,") != rows.npos);
    CHECK(rows.find("\n288,64,") != rows.npos);  // the second window
    const std::string of_strides = read_file(log_of_strides);
    CHECK(of_strides.starts_with("at,context,passages,nats_per_token\n192,64,1,"));
    CHECK(rows.substr(rows.rfind(',')) == of_strides.substr(of_strides.rfind(',')));

    const std::string words = tool(measurement(documents, {"--schedule", "stride:16"})).out;
    CHECK(words.starts_with("perplexity "));
    CHECK(words.find(", schedule stride:16, query last:32: 192 tokens in 2 windows of 96 behind contexts of 64\n") !=
          words.npos);
}

TEST_CASE("ppl: schedules that look at the model, on any number of threads") {
    const TemporaryFolder folder;
    const std::string documents = write_long_documents(folder);
    for (const char* schedule : {"never", "entropy:2", "flare", "dragin", "etc", "sentence"}) {
        CAPTURE(schedule);
        const json one = tool_json(measurement(documents, {"--schedule", schedule, "--threads", "1"}));
        const json two = tool_json(measurement(documents, {"--schedule", schedule, "--threads", "2"}));
        for (const char* same :
             {"nats_per_token", "first_nats_per_token", "retrievals", "rewound", "evaluated", "schedule", "query"})
            CHECK(one[same] == two[same]);
        CHECK(one["query"] == "last:32");  // never one of its own
        CHECK(one["tokens"] == 192);
    }
    const json attention = tool_json(measurement(documents, {"--schedule", "stride:16", "--query", "attention:25"}));
    CHECK(attention["query"] == "attention:25");
    CHECK(attention["nats_per_token"] != tool_json(measurement(documents, {}))["nats_per_token"]);
    const json sentence = tool_json(measurement(documents, {"--schedule", "stride:16", "--query", "sentence"}));
    CHECK(sentence["query"].get<std::string>().starts_with("sentence"));
    // The window of the default model leaves room for it: 128 tokens.
    CHECK(tool_json({"ppl", "--text", documents, "--corpus", documents, "--init", "256", "--context", "64", "--passage-tokens",
                     "32", "--strides", "8", "--layout", "aside", "--schedule", "once"})["hold"] == 128);
}

TEST_CASE("bench: a generation under each schedule") {
    const json found = tool_json({"bench",
                                  "--mode",
                                  "schedule",
                                  "--schedule",
                                  "stride:8",
                                  "--schedule",
                                  "never",
                                  "--layout",
                                  "append,aside",
                                  "--steps",
                                  "24",
                                  "--context",
                                  "50",
                                  "--passage",
                                  "20",
                                  "--latency",
                                  "2",
                                  "--repetitions",
                                  "1",
                                  "--warmup",
                                  "0",
                                  "--peak-memory",
                                  "4",
                                  "--threads",
                                  "1"});
    CHECK(found["mode"] == "schedule");
    REQUIRE(found["runs"].size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
        const json& run = found["runs"][i];
        CHECK(keys(run) == std::set<std::string>{"model",
                                                 "weights",
                                                 "cache",
                                                 "threads",
                                                 "layout",
                                                 "schedule",
                                                 "query",
                                                 "context",
                                                 "passage",
                                                 "latency",
                                                 "steps",
                                                 "stop",
                                                 "retrievals",
                                                 "rewinds",
                                                 "rewound",
                                                 "evaluated",
                                                 "evaluated_per_token",
                                                 "seconds_per_token",
                                                 "tokens_per_second",
                                                 "median_tokens_per_second",
                                                 "seconds",
                                                 "share_of_peak",
                                                 "retrieve_seconds"});
        CHECK(run["layout"] == (i < 2 ? "append" : "aside"));
        CHECK(run["schedule"] == (i % 2 == 0 ? "stride:8" : "never"));
        CHECK(run["retrievals"] == (i % 2 == 0 ? 3 : 0));
        CHECK(run["steps"] == 24);
        if (i % 2 == 0) CHECK(run["retrieve_seconds"] >= 0.006);
    }
    // BOS and the prompt, and each token but the last; at a retrieval a passage, and after it the 8 tokens that stood behind the one before.
    CHECK(found["runs"][1]["evaluated"] == 1 + 50 + 23);
    CHECK(found["runs"][0]["evaluated"] == 1 + 50 + 23 + 3 * 20 + 2 * 7);
    CHECK(found["runs"][0]["evaluated_per_token"].get<double>() == doctest::Approx(148.0 / 24));
    const Result words =
        tool({"bench", "--mode", "schedule", "--shape", "gpt2:q8_0", "--schedule", "entropy:1", "--steps", "4", "--context",
              "8", "--passage", "8", "--repetitions", "1", "--warmup", "0", "--peak-memory", "4"});
    CHECK(words.status == 0);
    CHECK(words.out.find("passages of 8 tokens\n") != words.out.npos);
}

TEST_CASE("--schedule and --query: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string documents = write_long_documents(folder);
    for (const auto& command : {generation(corpus, {}), measurement(documents, {})}) {
        refused(2, "--schedule: the schedule 'stride:x' has 'x' at character 8, expected a number of 0 or more",
                extended(command, {"--schedule", "stride:x"}));
        refused(2, "--schedule: the schedule 'any(stride:64' has its end at character 14, expected , or )",
                extended(command, {"--schedule", "any(stride:64"}));
        refused(2, "--schedule: the schedule 'sometimes' has 'sometimes' at character 1, ",
                extended(command, {"--schedule", "sometimes"}));
        refused(2, "--schedule: the schedule '' has its end at character 1, expected a name",
                extended(command, {"--schedule", ""}));
        refused(2, "--query: the query 'last:0'", extended(command, {"--query", "last:0"}));
        refused(2, "--query: the query 'stride:4' has 'stride' at character 1, ", extended(command, {"--query", "stride:4"}));
        refused(2, "--stride excludes --schedule", extended(command, {"--schedule", "once", "--stride", "4"}));
        refused(2, "--query-tokens excludes --query", extended(command, {"--query", "last:4", "--query-tokens", "4"}));
    }
    refused(2, "--schedule needs passages, found --layout none",
            {"generate", "--layout", "none", "--prompt", "x", "--schedule", "once"});
    refused(2, "--query needs passages, found --layout none",
            {"ppl", "--text", documents, "--layout", "none", "--query", "last:4"});
    refused(2, "--schedule requires --layout", {"ppl", "--text", documents, "--schedule", "once"});
    refused(2,
            "--query masked: found a query of a draft, which here is the text that is predicted, expected last:N, sentence, or "
            "attention:N with --schedule",
            measurement(documents, {"--query", "masked", "--schedule", "flare"}));
    refused(2, "--query attention:25 needs --schedule: without it nothing has been read when passages are found",
            measurement(documents, {"--query", "attention:25"}));
    refused(2, "--schedule any(ircot,once): ircot ends a text after some sentences, expected a schedule that reads all of it",
            measurement(documents, {"--schedule", "any(ircot,once)"}));
    refused(2, "--schedule needs passages beside the text, found --layout overwrite",
            {"ppl", "--text", documents, "--corpus", documents, "--layout", "overwrite", "--schedule", "once"});
    refused(2, "--hold: found 20, expected a multiple of --stride, 16",
            {"ppl", "--text", documents, "--corpus", documents, "--layout", "append", "--schedule", "once", "--hold", "20"});
    refused(2, "--schedule: --mode loop does not read it, schedule does", {"bench", "--mode", "loop", "--schedule", "once"});
    refused(2, "--latency: --mode prefill does not read it, schedule does", {"bench", "--mode", "prefill", "--latency", "3"});
    refused(2, "--layout: found aside-stored, expected aside: in this mode each query finds a passage of its own",
            {"bench", "--mode", "schedule", "--layout", "aside-stored"});
    refused(1, "the schedule 'sometimes' has 'sometimes'", {"bench", "--mode", "schedule", "--schedule", "sometimes"});
    refused(2, "--latency", {"bench", "--mode", "schedule", "--latency", "-1"});
}

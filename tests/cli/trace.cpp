// generate --trace: the record of a generation in files, whatever the tool is asked to do.
#include "cli/tool.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_trace {

using namespace flashback_test;

/// The data of a page.
nlohmann::json data_of(const std::string& page) {
    const std::string open = "id=\"trace\">";
    const std::size_t begin = page.find(open) + open.size();
    return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST_CASE("generate --trace writes what --json tells, for every layout and schedule") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string page = (folder.path() / "reuse.html").string();
    const std::string events = (folder.path() / "reuse.json").string();
    using Options = std::vector<std::string>;
    for (const Options& more :
         {Options{"--layout", "append", "--markers", "on"}, Options{"--layout", "aside", "--passages", "2"},
          Options{"--schedule", "flare"}, Options{"--passages", "3", "--fusion", "mean"}}) {
        CAPTURE(more.back());
        const auto asked = std::ranges::find(more, "--passages");
        const std::string number = asked == more.end() ? "1" : *std::next(asked);
        Options arguments{"generate", "--corpus", corpus, "--prompt", compiler_text, "--max-tokens",
                          "40",       "--trace",  page,   "--trace",  events,        "--ignore-eos"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const nlohmann::json told = tool_json(arguments);
        const nlohmann::json data = data_of(read_file(page));
        for (const char* count :
             {"retrievals", "requested", "evaluated", "reused", "discarded", "rewinds", "rewound", "seconds"}) {
            CAPTURE(count);
            CHECK(data["stats"][count] == told["stats"][count]);
        }
        CHECK(data["stop"] == told["stop"]);
        const nlohmann::json run(data["description"]);
        CHECK(run == nlohmann::json::array({{"model", "the default model"},
                                            {"layout", told["layout"]},
                                            {"schedule", told["schedule"]},
                                            {"query", told["query"].is_null() ? "the schedule's own" : told["query"]},
                                            {"corpus", corpus},
                                            {"passages at each retrieval", number}}));
        REQUIRE(data["retrievals"].size() == told["retrieved"].size());
        for (std::size_t i = 0; i < told["retrieved"].size(); ++i) {
            for (const char* field : {"at", "query", "evaluated", "reused", "discarded", "seconds"}) {
                CAPTURE(field);
                CHECK(data["retrievals"][i][field] == told["retrieved"][i][field]);
            }
            const nlohmann::json& passages = data["retrievals"][i]["passages"];
            CHECK((passages.empty() ? nlohmann::json{} : passages[0]["id"]) == told["retrieved"][i]["id"]);
        }
        CHECK(nlohmann::json::parse(read_file(events))["traceEvents"].size() > told["tokens"].size());
    }
}

TEST_CASE("generate --trace says where it wrote, and refuses what it cannot write") {
    const TemporaryFolder folder;
    const std::string page = (folder.path() / "reuse.html").string();
    const Result result = tool({"generate", "--layout", "none", "--prompt", "A", "--max-tokens", "2", "--trace", page});
    CHECK(result.status == 0);
    CHECK(result.err.find("what was reused: " + page + "\n") != result.err.npos);
    CHECK(data_of(read_file(page))["plans"].size() == 1);

    const auto refused_with = [](int status, const std::string& words, const std::string& file, const std::string& prompt) {
        refused(status, words, {"generate", "--layout", "none", "--prompt-file", prompt, "--trace", file});
    };
    const std::string prompt = folder.write("prompt.html", "A");
    refused_with(2, "expected a name that ends in .html or .json", (folder.path() / "reuse.svg").string(), prompt);
    refused_with(1, "is what --prompt-file reads", prompt, prompt);
    CHECK(read_file(prompt) == "A");
    refused_with(1, "there is no folder", (folder.path() / "nowhere" / "reuse.html").string(), prompt);
}

}  // namespace test_cli_trace

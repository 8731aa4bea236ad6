// `flashback index`: passages that are evaluated once, and what generates with them.
#include "cli/tool.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace test_cli_index {

namespace {

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

}  // namespace

TEST_CASE("index: generate finds every passage in the file, evaluates none, and writes the same text") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string file = (folder.path() / "passages.kv").string();
    std::uintmax_t larger = 1u << 30;
    for (const char* element : {"as-evaluated", "f16", "int8"}) {
        for (const char* markers : {"off", "on"}) {
            const std::vector<std::string> same{"--corpus", corpus, "--passage-element", element, "--markers", markers};
            const json index = tool_json(with({"index", "--passages-kv", file, "--force"}, same));
            CHECK(index["passages"] == 3);
            CHECK(index["blocks"] == 3);
            CHECK(index["passage_element"] == element);
            CHECK(index["bytes"] == std::filesystem::file_size(file));
            CHECK(index["bytes_per_passage"].get<double>() * 3 < index["bytes"].get<double>());
            const auto generate = with({"generate", "--prompt", "The kernel of an operating system", "--max-tokens", "40",
                                        "--ignore-eos", "--layout", "aside"},
                                       same);
            const json without = tool_json(generate);
            const json run = tool_json(with(generate, {"--passages-kv", file}));
            CHECK(run["passage_element"] == element);
            CHECK(run["passage_store"]["misses"] == 0);
            CHECK(run["passage_store"]["reads"].get<int>() + run["passage_store"]["hits"].get<int>() ==
                  static_cast<int>(run["retrieved"].size()));
            CHECK(without["passage_store"]["reads"] == 0);
            CHECK(without["passage_store"]["misses"] > 0);
            CHECK(run["tokens"] == without["tokens"]);
            CHECK(run["stats"]["requested"] == without["stats"]["requested"]);
            CHECK(run["stats"]["evaluated"] < without["stats"]["evaluated"]);
            CHECK(run["retrieved"][0]["passage_tokens"] > 0);
            CHECK(run["retrieved"][0]["evaluated"] == run["prompt_tokens"]);
            for (std::size_t i = 1; i < run["retrieved"].size(); ++i) CHECK(run["retrieved"][i]["evaluated"] == 17);
        }
        CHECK(std::filesystem::file_size(file) < larger);
        larger = std::filesystem::file_size(file);
    }
}

TEST_CASE("index: a file of something else is refused in a sentence, and nothing is replaced unasked") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string file = (folder.path() / "passages.kv").string();
    const std::vector<std::string> index{"index", "--corpus", corpus, "--passages-kv", file};
    CHECK(tool(index).status == 0);
    refused(1, "exists already; --force replaces it", index);
    refused(1, "'" + corpus + "'", {"index", "--corpus", corpus, "--passages-kv", corpus, "--force"});
    const std::vector<std::string> generate{"generate", "--corpus", corpus, "--prompt", "A kernel", "--passages-kv", file};
    refused(2, "--passages-kv needs passages beside the text, found --layout append", generate);
    const auto aside = with(generate, {"--layout", "aside"});
    const Result found = tool(with(aside, {"--max-tokens", "1"}));
    CHECK(found.err.find("passages beside the text: 0 evaluated, 0 found in memory, 1 in the file of --passages-kv") !=
          std::string::npos);
    refused(1, "has blocks as-evaluated, but the store keeps them int8", with(aside, {"--passage-element", "int8"}));
    refused(1, "give the fingerprint", with(aside, {"--cache", "f16"}));
    const std::string rounded = (folder.path() / "rounded.kv").string();
    CHECK(tool({"index", "--corpus", corpus, "--passages-kv", rounded, "--passage-element", "int8"}).status == 0);
    const json run = tool_json({"generate", "--corpus", corpus, "--prompt", "A kernel", "--layout", "aside", "--passages-kv",
                                rounded, "--max-tokens", "1"});
    CHECK(run["passage_element"] == "int8");
    CHECK(run["passage_store"]["reads"] == 1);
    std::string bytes = read_file(file);
    bytes[bytes.size() - 20] = static_cast<char>(bytes[bytes.size() - 20] + 1);
    folder.write("passages.kv", bytes);
    refused(1, "is damaged: its directory does not give its checksum", aside);
    refused(1, "has no passage, expected at least one",
            {"index", "--corpus", folder.write("blank.jsonl", "{\"_id\":\"a\",\"title\":\"\",\"text\":\" \"}\n"),
             "--passages-kv", file, "--force"});
    CHECK(read_file(file) == bytes);
}

}  // namespace test_cli_index

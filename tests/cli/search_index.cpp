// `flashback index --out`: an index that every command searches as it would the documents.
#include "cli/tool.hpp"

#include <filesystem>
#include <string>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace test_cli_search_index {

namespace {

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

}  // namespace

TEST_CASE("index --out: search, generate and ppl find what they find in the documents") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string index = (folder.path() / "corpus.index").string();
    const json made = tool_json({"index", corpus, "--out", index});
    CHECK(keys(made) == std::set<std::string>{"index", "added", "removed", "documents", "passages", "segments", "analyzer",
                                              "passage_tokens", "search_bytes"});
    CHECK(made["added"] == 3);
    CHECK(made["passages"] == 3);
    CHECK(made["segments"] == 1);
    CHECK(made["analyzer"] == "words");
    const std::string text = folder.write("text.txt", std::string(600, 'a') + " kernel of a system and compilers");
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"search", "--query", "kernel system"},
          std::vector<std::string>{"search", "--query", "a", "--k1", "2", "--b", "1"},
          std::vector<std::string>{"generate", "--prompt", "The kernel of", "--max-tokens", "20", "--ignore-eos"}}) {
        const json documents = tool_json(with(command, {"--corpus", corpus}));
        const json files = tool_json(with(command, {"--corpus", index}));
        if (documents.contains("hits")) {
            CHECK(documents == files);
            CHECK(documents["hits"].size() > 0);
        } else {
            CHECK(documents["tokens"] == files["tokens"]);
        }
    }
    const std::string kv = (folder.path() / "passages.kv").string();
    CHECK(tool_json({"index", index, "--passages-kv", kv})["passages"] == 3);
}

TEST_CASE("index --out: documents are added, replaced and removed, and files merged") {
    const TemporaryFolder folder;
    const std::string index = (folder.path() / "index").string();
    const std::string first =
        folder.write("a.jsonl", "{\"_id\":\"a\",\"text\":\"red apples\"}\n{\"_id\":\"b\",\"text\":\"blue plums\"}\n");
    const std::string second = folder.write("b.jsonl", "[{\"_id\":\"b\",\"text\":\"green plums\"}]");
    CHECK(tool({"index", first, "--out", index, "--whole"}).status == 0);
    refused(1, "has a document with the id 'b' already; remove it first to replace it",
            {"index", second, "--out", index, "--whole"});
    const json replaced = tool_json({"index", second, "--out", index, "--whole", "--replace"});
    CHECK(replaced["documents"] == 2);
    CHECK(replaced["segments"] == 2);
    const std::vector<std::string> search{"search", "--whole", "--corpus", index, "--query"};
    CHECK(tool_json(with(search, {"blue"}))["hits"].empty());
    CHECK(tool_json(with(search, {"green"}))["hits"][0]["id"] == "b");
    refused(1, "has no document with the id 'z'", {"index", "--out", index, "--whole", "--remove", "z"});
    const json merged = tool_json({"index", "--out", index, "--whole", "--remove", "a", "--merge"});
    CHECK(merged["segments"] == 1);
    CHECK(merged["documents"] == 1);
    CHECK(tool_json(with(search, {"red"}))["hits"].empty());
    refused(1, "has whole documents, expected passages", {"search", "--corpus", index, "--query", "red"});
}

TEST_CASE("--filter: only passages whose id or title matches") {
    const TemporaryFolder folder;
    const std::string corpus =
        folder.write("c.jsonl", "{\"_id\":\"apple-1\",\"text\":\"red fruit\"}\n{\"_id\":\"plum-1\",\"text\":\"blue fruit\"}\n");
    const std::vector<std::string> search{"search", "--corpus", corpus, "--query", "fruit"};
    CHECK(tool_json(search)["hits"].size() == 2);
    const json found = tool_json(with(search, {"--filter", "^plum"}));
    REQUIRE(found["hits"].size() == 1);
    CHECK(found["hits"][0]["id"] == "plum-1");
    CHECK(tool_json(with(search, {"--filter", "none"}))["hits"].empty());
    refused(2, "expected a regular expression", with(search, {"--filter", "("}));
    const json run =
        tool_json({"generate", "--corpus", corpus, "--filter", "^apple", "--prompt", "The fruit is", "--max-tokens", "4"});
    for (const json& passage : run["retrieved"]) CHECK(passage["id"] == "apple-1");
}

TEST_CASE("index --out: what does not fit is refused in a sentence") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string index = (folder.path() / "index").string();
    refused(2, "index needs --out DIR, or --passages-kv FILE", {"index", corpus});
    refused(2, "index needs a CORPUS to read", {"index", "--out", index});
    CHECK(tool({"index", corpus, "--out", index, "--passage-tokens", "64"}).status == 0);
    const std::vector<std::string> search{"search", "--corpus", index, "--query", "kernel"};
    refused(1, "have at most 64 tokens, but 128 were asked for with --passage-tokens", search);
    refused(1, "was made with the analyzer 'words', but it is used with 'tokens",
            with(search, {"--passage-tokens", "64", "--analyzer", "tokens"}));
    refused(1, "has passages, expected whole documents for --whole", with(search, {"--whole"}));
    refused(2, "--k1", with(search, {"--k1", "1e45"}));
    CHECK(tool(with(search, {"--passage-tokens", "64"})).status == 0);
    for (const auto& entry : std::filesystem::directory_iterator{index}) {
        if (entry.path().extension() == ".segment")
            std::filesystem::resize_file(entry.path(), std::filesystem::file_size(entry.path()) / 2);
    }
    refused(1, "is no segment of an index: it does not end as one", with(search, {"--passage-tokens", "64"}));
}

TEST_CASE("index --backend xapian: generate and search read a database of Xapian, where the tool has it") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const std::string database = (folder.path() / "xapian").string();
    const Result made = tool({"index", corpus, "--out", database, "--backend", "xapian"});
    if (made.err.find("this tool was built without it") != std::string::npos) {
        MESSAGE("skipped: the tool was built without Xapian");
        return;
    }
    CHECK(made.status == 0);
    const json found = tool_json({"search", "--corpus", "xapian:" + database, "--query", "kernel"});
    REQUIRE(found["hits"].size() > 0);
    const json ours = tool_json({"search", "--corpus", corpus, "--query", "kernel"});
    CHECK(found["hits"][0]["text"] == ours["hits"][0]["text"]);
    const std::vector<std::string> generate{"generate", "--prompt",     "The kernel of", "--max-tokens",
                                            "20",       "--ignore-eos", "--corpus"};
    CHECK(tool_json(with(generate, {"xapian:" + database}))["stats"]["retrievals"] > 0);
    const std::string text =
        folder.write("text.txt", "The kernel of an operating system schedules processes. " + std::string(4000, 'a'));
    CHECK(tool_json({"ppl", "--text", text, "--corpus", "xapian:" + database, "--layout", "append", "--init", "64", "--context",
                     "64", "--strides", "2", "--passage-tokens", "32"})["strides"] == 2);
    refused(1, "expected xapian:FOLDER or xapian+tcp://HOST:PORT", with(generate, {"xapian:" + database + ",elsewhere"}));
    refused(1, "needs all passages", {"index", "xapian:" + database, "--passages-kv", (folder.path() / "kv").string()});
}

}  // namespace test_cli_search_index

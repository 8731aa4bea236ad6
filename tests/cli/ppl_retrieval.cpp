// `flashback ppl --layout`: perplexity with retrieval.
#include "cli/tool.hpp"

#include <cmath>
#include <set>
#include <sstream>
#include <string>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// Documents of a few dozen words each; every one speaks of things that two others speak of, too.
std::string write_documents(const TemporaryFolder& folder) {
    const std::vector<std::string> things{"compiler", "kernel", "linker", "shell", "editor", "cache", "socket", "thread"};
    std::string lines;
    for (std::size_t i = 0; i < things.size(); ++i) {
        const std::string& other = things[(i + 1) % things.size()];
        std::string text;
        for (int n = 0; n < 3; ++n) {
            text += "The " + things[i] + " is a part of the system number " + std::to_string(n * 8 + static_cast<int>(i)) +
                    ", and it works with the " + other + " that users of the " + things[i] + " know well. ";
        }
        lines += json{{"_id", "d" + std::to_string(i)}, {"title", things[i]}, {"text", text}}.dump() + "\n";
    }
    return folder.write("documents.jsonl", lines);
}

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// Twelve strides in three windows, with passages of up to 32 tokens.
std::vector<std::string> held_strides(const std::string& documents) {
    return {"ppl", "--text",   documents, "--init",    "128", "--context", "64", "--passage-tokens",
            "32",  "--corpus", documents, "--strides", "12",  "--hold",    "64"};
}

}  // namespace

TEST_CASE("ppl --layout: all fields; every layout predicts the same tokens, and reuse changes no digit") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::vector<std::string> common{"ppl", "--text",           documents, "--init",   "128",     "--context",
                                          "64",  "--passage-tokens", "32",      "--corpus", documents, "--strides",
                                          "12"};
    const json append = tool_json(with(common, {"--layout", "append"}));
    CHECK(keys(append) ==
          std::set<std::string>{
              "model",          "cache",          "layout",         "repeat",         "markers",
              "reuse",          "stride",         "init",           "context",        "hold",
              "query_tokens",   "passages",       "passage_tokens", "documents",      "masked",
              "strides",        "tokens",         "retrievals",     "passages_found", "copied",
              "nats_per_token", "standard_error", "perplexity",     "nats_by_place",  "perplexity_standard_error",
              "requested",      "evaluated",      "reused",         "discarded",      "seconds",
              "fusion",         "branches",       "schedule",       "query"});
    CHECK(append["layout"] == "append");
    CHECK(append["markers"] == false);
    CHECK(append["stride"] == 16);
    CHECK(append["context"] == 64);
    CHECK(append["documents"] == 8);
    CHECK(append["strides"] == 12);
    CHECK(append["tokens"] == 192);
    CHECK(append["retrievals"] == 12);
    CHECK(append["passages_found"] == 12);

    const json repeated = tool_json(with(common, {"--layout", "append", "--repeat", "8"}));
    CHECK(repeated["repeat"] == 8);
    CHECK(repeated["tokens"] == 192);
    CHECK(repeated["requested"] == append["requested"].get<int>() + 12 * 8);
    CHECK(repeated["nats_per_token"].get<double>() < append["nats_per_token"].get<double>() - 0.1);
    CHECK(append["copied"] == 0);  // although the corpus is the text
    CHECK(append["masked"] == json({4096, 4097}));
    CHECK(append["perplexity"].get<double>() == doctest::Approx(std::exp(append["nats_per_token"].get<double>())));
    CHECK(append["evaluated"].get<int>() + append["reused"].get<int>() == append["requested"].get<int>());

    std::set<double> nats{append["nats_per_token"].get<double>()};
    for (const char* layout : {"none", "prepend", "overwrite"}) {
        CAPTURE(layout);
        const json found = tool_json(with(common, {"--layout", layout}));
        for (const char* same : {"strides", "tokens", "init", "context", "stride"}) CHECK(found[same] == append[same]);
        nats.insert(found["nats_per_token"].get<double>());
    }
    nats.insert(tool_json(with(common, {"--layout", "append", "--markers", "on"}))["nats_per_token"].get<double>());
    CHECK(nats.size() == 5);

    const json none =
        tool_json({"ppl", "--text", documents, "--init", "128", "--context", "64", "--strides", "12", "--layout", "none"});
    CHECK(none["retrievals"] == 0);
    CHECK(none["passages"] == 0);
    CHECK(none["requested"] == 12 * (1 + 64 + 15));

    // With held starts there is something to reuse; the digits are the same, and so they are with other threads.
    const std::vector<std::string> held = with(common, {"--layout", "append", "--hold", "64"});
    const json kept = tool_json(with(held, {"--threads", "1"}));
    const json anew = tool_json(with(held, {"--reuse", "none", "--threads", "2"}));
    for (const char* same : {"nats_per_token", "standard_error", "perplexity", "requested"}) CHECK(kept[same] == anew[same]);
    CHECK(anew["reused"] == 0);
    CHECK(kept["reused"].get<int>() > kept["requested"].get<int>() / 4);

    // --share-history holds the starts of eight strides: where passages leave the text alone, so the text is evaluated once for all of them.
    for (const std::string layout : {"append", "sticky", "aside", "none"}) {
        CAPTURE(layout);
        const std::vector<std::string> of = with(common, {"--layout", layout, "--stride", "8"});
        const json shared = tool_json(with(of, {"--share-history"}));
        const json same = tool_json(with(of, {"--hold", "64"}));
        const json alone = tool_json(with(of, {"--share-history", "--reuse", "none"}));
        CHECK(shared["hold"] == 64);
        for (const char* number : {"nats_per_token", "standard_error", "nats_by_place", "requested"}) {
            CHECK(shared[number] == same[number]);
            CHECK(shared[number] == alone[number]);
        }
        CHECK(shared["evaluated"] == same["evaluated"]);
        CHECK(shared["evaluated"].get<int>() < alone["evaluated"].get<int>() * 3 / 5);
        CHECK(alone["evaluated"] == alone["requested"]);
    }
    const Result words = tool(with(common, {"--layout", "none", "--stride", "8", "--share-history"}));
    CHECK(words.out.find("strides of 8 behind contexts of 64 to 120\n") != words.out.npos);
    for (const std::string layout : {"prepend", "overwrite"})
        check_refused(tool(with(common, {"--layout", layout, "--share-history"})), 2,
                      "--share-history needs passages behind the text or beside it, found --layout " + layout);
    check_refused(tool(with(held, {"--share-history"})), 2, "--hold excludes --share-history");
}

TEST_CASE("ppl --layout: per word, what stands between documents, plain text, and words for people") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::vector<std::string> common{"ppl", "--text",   documents, "--init",    "128", "--context",
                                          "64",  "--layout", "none",    "--strides", "9"};
    const json word = tool_json(with(common, {"--per", "word"}));
    const double nats = word["nats_per_token"].get<double>() * word["tokens"].get<double>();
    CHECK(word["words"].get<int>() > 40);
    CHECK(word["perplexity_per_word"].get<double>() ==
          doctest::Approx(std::exp(nats / word["words"].get<double>())).epsilon(1e-9));

    const json eos = tool_json(with(common, {"--separator", "eos"}));
    CHECK(eos["nats_per_token"] == word["nats_per_token"]);  // this model has an EOS of its own
    CHECK(tool_json(with(common, {"--separator", "newline"}))["nats_per_token"] != word["nats_per_token"]);

    const Result plain = tool(with(common, {"--per", "word"}));
    CHECK(plain.status == 0);
    CHECK(plain.out.starts_with("perplexity "));
    CHECK(plain.out.find(" per word: ") != plain.out.npos);
    CHECK(plain.err.empty());  // no progress where there is no terminal

    std::string long_text;
    for (int i = 0; i < 60; ++i) long_text += "The kernel shares the memory among programs. ";
    const Result piped =
        tool({"ppl", "--text", "-", "--init", "64", "--context", "32", "--layout", "none", "--json"}, long_text);
    CHECK(piped.status == 0);
    CHECK(json::parse(piped.out)["documents"] == 1);
}

TEST_CASE("ppl --layout aside: the text costs what it costs without passages, and they are heard") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::vector<std::string> common = held_strides(documents);
    const json none = tool_json(with(common, {"--layout", "none"}));
    const json aside = tool_json(with(common, {"--layout", "aside"}));
    CHECK(aside["seeing"] == 1);
    CHECK(aside["passages_found"] == 12);
    CHECK(aside["perplexity"] != none["perplexity"]);
    const auto tokens_of_passages = aside["requested"].get<std::size_t>() - none["requested"].get<std::size_t>();
    CHECK(tokens_of_passages > 0);
    CHECK(tokens_of_passages <= 12 * 32);
    // Of the 15 tokens of a stride that were read while they saw a passage, those that the next stride reads as text are read again.
    CHECK(aside["evaluated"].get<std::size_t>() > none["evaluated"].get<std::size_t>() + tokens_of_passages);
    const json wider = tool_json(with(common, {"--layout", "aside", "--seeing", "8"}));
    CHECK(wider["seeing"] == 8);
    CHECK(wider["perplexity"] != aside["perplexity"]);
    CHECK(tool_json(with(common, {"--layout", "aside", "--reuse", "none"}))["perplexity"] == aside["perplexity"]);
    const json approximate = tool_json(with(common, {"--layout", "aside", "--approximate"}));
    CHECK(approximate["approximate"] == true);
    CHECK(approximate["perplexity"] != aside["perplexity"]);
    CHECK(approximate["evaluated"].get<std::size_t>() == none["evaluated"].get<std::size_t>() + tokens_of_passages);
    CHECK(tool_json(with(common, {"--layout", "aside", "--threads", "1"}))["perplexity"] == aside["perplexity"]);
}

TEST_CASE("ppl --layout append --approximate: a stride is evaluated once, and the text keeps what it saw") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::vector<std::string> common = held_strides(documents);
    const json none = tool_json(with(common, {"--layout", "none"}));
    const json exact = tool_json(with(common, {"--layout", "append", "--markers", "off"}));
    const json approximate = tool_json(with(common, {"--layout", "append", "--markers", "off", "--approximate"}));
    CHECK(!exact.contains("approximate"));
    CHECK(approximate["approximate"] == true);
    CHECK(approximate["perplexity"] != exact["perplexity"]);
    CHECK(approximate["requested"] == exact["requested"]);
    // Three windows of four strides: what 15 tokens of a stride saw stays at three of four retrievals.
    CHECK(approximate["evaluated"].get<std::size_t>() + std::size_t{9} * 15 == exact["evaluated"].get<std::size_t>());
    CHECK(approximate["evaluated"].get<std::size_t>() ==
          none["evaluated"].get<std::size_t>() + exact["requested"].get<std::size_t>() - none["requested"].get<std::size_t>());
    CHECK(tool_json(with(common, {"--layout", "sticky", "--approximate"}))["approximate"] == true);
    refused(2, "--approximate needs passages in one text, found --fusion mixture",
            with(common, {"--layout", "append", "--approximate", "--passages", "2", "--fusion", "mixture"}));
    refused(2, "--share-history: a schedule reads windows of --hold tokens",
            {"ppl", "--text", "t", "--corpus", "c", "--layout", "append", "--share-history", "--schedule", "once"});
    refused(2, "--approximate needs --reuse prefix, found none",
            with(common, {"--layout", "append", "--approximate", "--reuse", "none"}));
    refused(2, "--approximate needs passages beside the text or behind it, found --layout prepend",
            with(common, {"--layout", "prepend", "--approximate"}));
}

TEST_CASE("ppl --layout: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::vector<std::string> none{"ppl", "--text", documents, "--layout", "none"};
    refused(2, "ppl needs --corpus, or --layout none", {"ppl", "--text", documents, "--layout", "append"});
    refused(2, "--corpus requires --layout", {"ppl", "--text", documents, "--corpus", documents});
    refused(1, "passages of up to 64 tokens in place of text leave no text of contexts of 64",
            {"ppl", "--text", documents, "--corpus", "nowhere.jsonl", "--layout", "overwrite", "--init", "128", "--context",
             "64", "--passage-tokens", "64"});
    refused(2, "--layout: sideways not in {none,append,sticky,prepend,aside,overwrite}",
            {"ppl", "--text", documents, "--layout", "sideways"});
    refused(2, "--window excludes --layout", with(none, {"--window", "100"}));
    refused(2, "--tokens excludes --layout", with(none, {"--tokens", "100"}));
    refused(2, "--against excludes --layout", with(none, {"--against", "x.gguf"}));
    refused(2, "--seeing needs passages beside the text, found --layout none", with(none, {"--seeing", "4"}));
    refused(2, "--approximate needs passages beside the text or behind it, found --layout none", with(none, {"--approximate"}));
    refused(2, "--seeing: found 0", with(none, {"--seeing", "0"}));
    refused(2, "--hold: found 20, expected a multiple of --stride, 16", with(none, {"--hold", "20"}));
    refused(2, "--passages: found 0", with(none, {"--passages", "0"}));
    refused(1, "expected at least the 100000 in front of the first stride", with(none, {"--init", "100000"}));
    refused(1, "for a shorter text give a smaller --init, and a --context that fits into it", with(none, {"--init", "100000"}));
    refused(1,
            "contexts have up to 300 tokens, expected at most the 200 in front of the first stride: --context 200 fits, or "
            "--init 300",
            with(none, {"--init", "200", "--context", "300"}));
    refused(1,
            "contexts have up to 112 tokens, expected at most the 100 in front of the first stride: --context 84 fits, or "
            "--init 112",
            with(none, {"--init", "100", "--context", "96", "--hold", "32"}));
    refused(1, "a window of 512 tokens leaves no room for text beside 531", with(none, {"--passages", "4"}));
    refused(
        1, "nowhere.jsonl': No such file",
        {"ppl", "--text", documents, "--layout", "append", "--init", "128", "--context", "64", "--corpus", "nowhere.jsonl"});
    refused(1, "nowhere.txt': No such file", {"ppl", "--text", "nowhere.txt", "--layout", "none"});
    refused(1, "holds no text", {"ppl", "--text", folder.write("empty.txt", "\n"), "--layout", "none"});
    refused(1, "but the window of the model holds 512",
            {"ppl", "--text", documents, "--corpus", documents, "--layout", "append", "--init", "512", "--context", "505",
             "--strides", "1"});
}

TEST_CASE("ppl --layout --log: a row for each stride; their mean is the result, whatever the threads") {
    const TemporaryFolder folder;
    const std::string documents = write_documents(folder);
    const std::string log = (folder.path() / "strides.csv").string();
    const std::vector<std::string> common{"ppl",      "--text",           documents, "--corpus",  documents,
                                          "--layout", "append",           "--init",  "128",       "--context",
                                          "64",       "--passage-tokens", "32",      "--strides", "33"};
    const json found = tool_json(with(common, {"--log", log, "--threads", "1"}));
    std::istringstream rows{read_file(log)};
    std::string row;
    std::getline(rows, row);
    CHECK(row == "at,context,passages,nats_per_token");
    double sum = 0;
    int number = 0;
    for (; std::getline(rows, row); ++number) {
        CAPTURE(row);
        CHECK(row.starts_with(std::to_string(128 + 16 * number) + ",64,1,"));
        sum += std::stod(row.substr(row.rfind(',') + 1));
    }
    REQUIRE(number == 33);
    CHECK(sum / number == doctest::Approx(found["nats_per_token"].get<double>()).epsilon(1e-7));

    const std::string again = (folder.path() / "again.csv").string();
    tool_json(with(common, {"--log", again, "--threads", "2"}));
    CHECK(read_file(again) == read_file(log));

    const std::string nowhere = (folder.path() / "nowhere" / "x.csv").string();
    refused(1, "cannot write '" + nowhere + "'", with(common, {"--log", nowhere}));
    refused(2, "--log requires --layout", {"ppl", "--text", documents, "--log", log});
}

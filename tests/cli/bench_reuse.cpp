// `flashback bench --mode reuse`: exact counts, the same rows in JSON, CSV and the picture, and what it refuses.
#include "cli/tool.hpp"
#include "support/folder_writer.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace test_cli_bench_reuse {

using namespace flashback_test;
using nlohmann::json;

const std::vector<std::string> reuse_ways{"append", "prepend", "sticky", "recompute", "aside", "aside-stored", "prefix-store"};

std::vector<std::string> reuse_of(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench",         "--mode", "reuse",         "--threads", "1",
                                       "--repetitions", "1",      "--peak-memory", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// A short sweep along two axes.
std::vector<std::string> short_sweep(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--vary", "history,k", "--history", "32,64", "--stride",
                                       "4",      "--passage", "16",        "--k",   "1,3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return reuse_of(arguments);
}

std::size_t count_of(const std::string& part, const std::string& text) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
    return count;
}

/// Whether every element of an SVG is closed by its own name, in order.
bool well_formed(const std::string& svg) {
    std::vector<std::string> open;
    for (std::size_t at = svg.find('<'); at != svg.npos; at = svg.find('<', at + 1)) {
        const std::size_t end = svg.find('>', at);
        if (end == svg.npos || svg.find('<', at + 1) < end) return false;
        const std::string element = svg.substr(at + 1, end - at - 1);
        if (std::ranges::count(element, '"') % 2 != 0) return false;
        if (element.ends_with('/')) continue;
        if (!element.starts_with('/')) {
            open.push_back(element.substr(0, element.find(' ')));
        } else if (open.empty() || open.back() != element.substr(1)) {
            return false;
        } else {
            open.pop_back();
        }
    }
    return open.empty();
}

std::string line_of(const std::string& text, std::size_t number) {
    std::size_t begin = 0;
    for (; number > 0; --number) begin = text.find('\n', begin) + 1;
    return text.substr(begin, text.find('\n', begin) - begin);
}

TEST_CASE("bench reuse: a run for each axis, value and way, with exact counts") {
    for (const bool found_again : {false, true}) {
        for (const bool miss : {false, true}) {
            CAPTURE(found_again);
            CAPTURE(miss);
            std::vector<std::string> switches;
            if (found_again) switches.emplace_back("--found-again");
            if (miss) switches.emplace_back("--miss");
            const json found = tool_json(short_sweep(switches));
            CHECK(keys(found) == std::set<std::string>{"mode", "processor", "base", "found_again", "miss", "runs", "left_out",
                                                       "append_wins", "peaks"});
            CHECK(found["mode"] == "reuse");
            CHECK(found["found_again"] == found_again);
            CHECK(found["miss"] == miss);
            CHECK(found["base"] == json{{"history", 32}, {"stride", 4}, {"passage", 16}, {"k", 1}});
            CHECK(found["left_out"].empty());
            CHECK(keys(found["append_wins"]) == std::set<std::string>{"from", "loses_at", "sentence"});
            const json& runs = found["runs"];
            REQUIRE(runs.size() == 28);
            CHECK(keys(runs[0]) == std::set<std::string>{"model",
                                                         "weights",
                                                         "cache",
                                                         "threads",
                                                         "axis",
                                                         "way",
                                                         "history",
                                                         "stride",
                                                         "passage",
                                                         "k",
                                                         "found_again",
                                                         "miss",
                                                         "evaluated",
                                                         "reused",
                                                         "evaluated_per_token",
                                                         "reused_per_token",
                                                         "seconds_per_token",
                                                         "tokens_per_second",
                                                         "median_tokens_per_second",
                                                         "seconds",
                                                         "share_of_peak"});
            for (std::size_t i = 0; i < runs.size(); ++i) {
                const json& run = runs[i];
                CAPTURE(run.dump());
                const bool on_history = i < 14;
                const std::size_t history = on_history && i >= 7 ? 64 : 32, k = i >= 21 ? 3 : 1;
                CHECK(run["axis"] == (on_history ? "history" : "k"));
                CHECK(run["way"] == reuse_ways[i % 7]);
                CHECK(run["history"] == history);
                CHECK(run["k"] == k);
                const std::size_t everything = history + 16 * k + 3, one_stride = 4 + 16 * k + 3, newest = 1 + 3;
                const std::map<std::string, std::size_t> expected{{"append", one_stride},
                                                                  {"prepend", found_again ? newest : everything},
                                                                  {"sticky", found_again ? newest : one_stride},
                                                                  {"recompute", everything},
                                                                  {"aside", one_stride + 1 - (found_again ? 16 * k : 0)},
                                                                  {"aside-stored", 4 + 1 + 3},
                                                                  {"prefix-store", one_stride}};
                CHECK(run["evaluated"] == (miss ? everything : expected.at(reuse_ways[i % 7])));
                CHECK(run["evaluated"].get<std::size_t>() + run["reused"].get<std::size_t>() == everything);
                CHECK(run["evaluated_per_token"] == run["evaluated"].get<double>() / 4);
                CHECK(run["seconds_per_token"].get<double>() == doctest::Approx(run["seconds"].get<double>() / 4));
                CHECK(run["seconds"] > 0);
                CHECK(run["share_of_peak"] > 0);
            }
        }
    }
}

TEST_CASE("bench reuse: the table, comma-separated values and the picture have the same rows") {
    const TemporaryFolder folder;
    const std::string csv = (folder.path() / "reuse.csv").string(), svg = (folder.path() / "reuse.svg").string();
    const json found = tool_json(short_sweep({"--csv", csv, "--svg", svg}));
    const std::string rows = read_file(csv);
    CHECK(std::ranges::count(rows, '\n') == 29);
    for (std::size_t i = 0; i < 28; ++i) {
        const json& run = found["runs"][i];
        const std::string line = line_of(rows, i + 1);
        CHECK(std::ranges::count(line, ',') == std::ranges::count(line_of(rows, 0), ','));
        CHECK(line.find(',' + run["axis"].get<std::string>() + ',' + run["way"].get<std::string>() + ',' +
                        run["history"].dump() + ",4,16," + run["k"].dump() + ",false,false," + run["evaluated"].dump() + ',' +
                        run["reused"].dump() + ',') != line.npos);
        CHECK(line.find(',' + run["seconds_per_token"].dump() + ',') != line.npos);
    }

    const std::string picture = read_file(svg);
    CHECK(picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    CHECK(well_formed(picture));
    CHECK_FALSE(well_formed(picture.substr(0, picture.size() / 2)));
    CHECK(count_of("class=\"panel\"", picture) == 2);
    CHECK(count_of("<polyline", picture) == 2 * 7);
    for (const std::string& way : reuse_ways) CHECK(count_of("><title>" + way + "</title></polyline>", picture) == 2);
    CHECK(count_of("prefers-color-scheme: dark", picture) == 1);
    for (const char* part : {"history: tokens of the text", "k: passages at each retrieval",
                             "milliseconds for each generated token", "flashback-base-5m, weights F16", "; 1 thread of "}) {
        CAPTURE(part);
        CHECK(count_of(part, picture) == 1);
    }
    CHECK(count_of("http", picture) == 1);  // nothing is loaded

    const Result plain = tool(short_sweep({"--ways", "prepend,append", "--miss", "--found-again"}));
    CHECK(plain.status == 0);
    CHECK(plain.err.empty());
    CHECK(line_of(plain.out, 1).starts_with("the same passages are found again, every reuse is forced to miss; "));
    CHECK(count_of("\n      64", plain.out) == 1);
    CHECK(count_of("12.75", plain.out) == 2 + 2);  // 32 + 16 + 3 tokens for 4, on both axes and in both ways
    const std::string last = plain.out.substr(plain.out.rfind('\n', plain.out.size() - 2) + 1);
    CHECK(last.find("than prepend") != last.npos);
}

TEST_CASE("bench reuse: the table says what its ways are") {
    const std::string said =
        tool(reuse_of({"--ways", "append,recompute", "--vary", "history", "--history", "8", "--stride", "4"})).out;
    CHECK(count_of("\nappend: passages stand after the text, which is reused\n", said) == 1);
    CHECK(count_of("\nrecompute: as append, but nothing is reused; as many tokens as prepend evaluates", said) == 1);
    CHECK(count_of("sticky", said) == 0);
}

TEST_CASE("bench reuse: a name that is no XML is text in the picture") {
    const TemporaryFolder folder;
    const std::string model = (folder.path() / "a<b&c").string(), svg = (folder.path() / "reuse.svg").string();
    FolderWriter{random_weights(small_shape(flashback::Family::opt), true)}.write(model);
    const Result result = tool(reuse_of({"--model", model, "--svg", svg, "--ways", "append", "--vary", "history", "--history",
                                         "4,8", "--stride", "4", "--passage", "4"}));
    CAPTURE(result.err);
    CHECK(result.status == 0);
    const std::string picture = read_file(svg);
    CHECK(well_formed(picture));
    CHECK(count_of("a&lt;b&amp;c", picture) == 1);
}

TEST_CASE("bench reuse: what does not fit into a table of positions is left out in words") {
    const TemporaryFolder folder;
    const std::string model = (folder.path() / "opt").string();
    const flashback::TransformerConfig shape = small_shape(flashback::Family::opt);
    FolderWriter{random_weights(shape, true)}.write(model);
    const std::string fits = std::to_string(shape.window - 4 - 3), longer = std::to_string(shape.window - 4 - 2);
    const auto with = [&](const std::string& histories) {
        return reuse_of({"--model", model, "--vary", "history", "--history", histories, "--stride", "4", "--passage", "4"});
    };
    const json found = tool_json(with(fits + ',' + longer));
    CHECK(found["runs"].size() == 7);
    REQUIRE(found["left_out"].size() == 1);
    const std::string sentence = "history " + longer + " is left out: it needs " + std::to_string(shape.window + 1) +
                                 " positions, but the window has " + std::to_string(shape.window);
    CHECK(found["left_out"][0] == sentence);
    CHECK(tool(with(fits + ',' + longer)).out.find(sentence + '\n') != std::string::npos);
    refused(1, "a sweep over reuse measures nothing: history 20000 is left out", with("20000"));
}

TEST_CASE("bench reuse: what makes no sense is refused in words") {
    refused(2, "--history: found 0, expected a whole number of at least 1", reuse_of({"--history", "0"}));
    refused(2, "--stride: found 4x, expected a whole number of at least 1", reuse_of({"--stride", "4x"}));
    refused(2, "--k: found 0", reuse_of({"--k", "2,0"}));
    refused(2, "--ways: sideways not in {append,append-approximate,aside,aside-stored,prefix-store,prepend,recompute,sticky}",
            reuse_of({"--ways", "append,sideways"}));
    refused(2, "--vary: passages not in {history,k,passage,stride}", reuse_of({"--vary", "passages"}));
    refused(2, "--passage: found 2 values, expected 1, because --vary does not name it",
            reuse_of({"--vary", "history", "--passage", "32,64"}));
    refused(1, "measures nothing: history 4 is left out: a history of 4 is shorter than the stride of 16",
            reuse_of({"--vary", "history", "--history", "4"}));
    for (const char* option : {"--vary", "--history", "--stride", "--k", "--ways", "--svg"})
        refused(2, std::string{option} + ": --mode ",
                {"bench", "--mode", "stored", option,
                 std::string{option} == "--vary"   ? "k"
                 : std::string{option} == "--ways" ? "append"
                                                   : "1"});
    for (const char* option : {"--miss", "--found-again"})
        refused(2, std::string{option} + ": --mode ", {"bench", "--mode", "loop", option});
    refused(2, "--warmup: --mode reuse does not read it, decode, loop, prefill, schedule and step do",
            reuse_of({"--warmup", "1"}));
    refused(1, "cannot write '/nowhere/reuse.svg'", reuse_of({"--svg", "/nowhere/reuse.svg"}));
    const TemporaryFolder folder;
    const std::string both = (folder.path() / "both").string();
    refused(2, "--svg", reuse_of({"--svg", both, "--csv", both}));
}

}  // namespace test_cli_bench_reuse

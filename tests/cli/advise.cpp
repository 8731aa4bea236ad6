// Advice from a sweep that is written here, so that the costs are known, and a short one from the machine, of which only counts are compared.
#include "cli/tool.hpp"
#include "support/folder_writer.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_advise {

using namespace flashback_test;
using nlohmann::json;

namespace {

/// A sweep of a machine that takes a millisecond for each evaluated token, whatever else.
json sweep_of_one_millisecond() {
    json runs = json::array();
    const auto add = [&](const char* way, std::size_t history, std::size_t stride, std::size_t passage, std::size_t evaluated) {
        runs.push_back({{"model", "made up"},
                        {"weights", "Q4_0"},
                        {"cache", "F16"},
                        {"threads", 2},
                        {"axis", "history"},
                        {"way", way},
                        {"history", history},
                        {"stride", stride},
                        {"passage", passage},
                        {"k", 1},
                        {"seconds", static_cast<double>(evaluated) / 1000}});
    };
    for (const std::size_t history : {100u, 400u, 1600u}) {
        for (const std::size_t stride : {4u, 40u}) {
            for (const std::size_t passage : {64u, 200u}) {
                add("append", history, stride, passage, stride + passage + stride - 1);
                add("prepend", history, stride, passage, history + passage + stride - 1);
            }
        }
    }
    return {{"mode", "reuse"}, {"found_again", false}, {"miss", false}, {"runs", runs}};
}

}  // namespace

TEST_CASE("advise: the shortest stride, the most passages and the cheapest way that fit, from a sweep in a file") {
    const TemporaryFolder folder;
    const std::string sweep = folder.write("sweep.json", sweep_of_one_millisecond().dump());
    const std::vector<std::string> arguments{"advise",    "--sweep",  sweep,     "--history",      "1000",
                                             "--passage", "100",      "--ways",  "append,prepend", "--k",
                                             "1,3",       "--stride", "2,10,50", "--budget"};
    const auto with = [&](const std::string& budget) {
        std::vector<std::string> all = arguments;
        all.push_back(budget);
        return tool_json(all);
    };
    // append costs 2 - 1 / s + 100 k / s ms a token: 11.9 with a stride of 10 and k = 1, 31.9 with k = 3; 51.5 with a stride of 2.
    // prepend costs 1 - 1 / s + (1000 + 100 k) / s: 22.98 at 50 and k = 1.
    const json found = with("32ms");
    CHECK(found["model"] == "made up");
    CHECK(found["choice"]["way"] == "append");
    CHECK(found["choice"]["stride"] == 10);
    CHECK(found["choice"]["k"] == 3);
    CHECK(found["choice"]["seconds_per_token"].get<double>() == doctest::Approx(0.0319).epsilon(0.001));
    CHECK_FALSE(found["choice"].contains("measured_seconds_per_token"));
    CHECK(found["runner_up"]["way"] == "prepend");
    CHECK(found["runner_up"]["stride"] == 50);
    CHECK(found["runner_up"]["k"] == 3);
    CHECK(found["beyond"]["stride"] == 2);
    CHECK(found["beyond"]["k"] == 1);
    CHECK(found["considered"] == 12);
    CHECK(found["cost_model"]["rows"] == 24);
    CHECK(found["cost_model"]["worst_error"] < 1e-6);
    CHECK(found["why"].get<std::string>().find("fine-tuned") != std::string::npos);
    CHECK(found["why"].get<std::string>().find("a short stride may harm it") != std::string::npos);
    // Prepending every 16 tokens takes 1115 / 16 ms a token.
    CHECK(found["prepend_seconds_per_token"].get<double>() == doctest::Approx(1.115 / 16).epsilon(0.001));
    CHECK(with("0.2x")["choice"]["k"] == 1);
    CHECK(with("0.2x")["choice"]["stride"] == 10);
    CHECK(with("0.0125s")["choice"] == with("0.2x")["choice"]);

    const json none = with("1ms");
    CHECK(none["choice"].is_null());
    CHECK(none["runner_up"].is_null());
    CHECK(none["beyond"]["stride"] == 50);
    CHECK(none["why"].get<std::string>().starts_with("the budget allows nothing that was considered; the cheapest is append"));

    std::vector<std::string> slow = arguments;
    slow.insert(slow.end(), {"32ms", "--latency", "200"});
    const std::string said = tool(slow).out;  // a search every 10 tokens costs 20 ms a token
    CHECK(said.find("\nchoice:    append, every 10 tokens, 1 passage: 31.9 ms a token") != std::string::npos);
    CHECK(said.find("\nbudget: 32ms, which is 32 ms a token; prepending a passage every 16 tokens takes 82.2") !=
          std::string::npos);
}

TEST_CASE("advise: learns from this machine, and measures what it picked") {
    const std::vector<std::string> arguments{"advise", "--budget", "1000x", "--history", "64", "--passage",
                                             "16",     "--stride", "8",     "--threads", "1"};
    const json found = tool_json(arguments);
    CHECK(found["choice"]["stride"] == 8);
    CHECK(found["choice"]["k"] == 8);
    CHECK(found["choice"]["measured_seconds_per_token"] > 0);
    CHECK(found["affordable"] == found["considered"]);
    CHECK(found["considered"] == 3 * 4);
    CHECK(found["cost_model"]["rows"] > 12);
    CHECK(found["prepend_stride"] == 16);
    const Result result = tool(arguments);
    CHECK(result.status == 0);
    CHECK(result.out.find("ms a token (") != std::string::npos);
    CHECK(result.out.find("x); measured: ") != std::string::npos);
    CHECK(result.out.find("\nwhy: it retrieves most often") != std::string::npos);
}

TEST_CASE("advise: what does not fit into a table of positions is left out") {
    const TemporaryFolder folder;
    const std::string model = (folder.path() / "opt").string();
    const flashback::TransformerConfig shape = small_shape(flashback::Family::opt);
    FolderWriter{random_weights(shape, true)}.write(model);
    const auto with = [&](const std::string& passage, const std::string& k) {
        return std::vector<std::string>{"advise", "--budget", "1000x", "--model", model, "--history", "16", "--passage",
                                        passage,  "--stride", "4",     "--k",     k};
    };
    const json found = tool_json(with("4", "1,1,100"));
    CHECK(found["considered"] == 3);  // three ways, one passage each
    CHECK(found["choice"]["k"] == 1);
    refused(1, "measures nothing", with("1000", "1"));
}

TEST_CASE("advise: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    refused(2, "--budget is required", {"advise"});
    for (const char* budget : {"20", "x", "-1ms", "0s", "1h", "nanms", "infx", "1e300s", ""})
        refused(2, "expected a number above 0 with x, ms or s behind it", {"advise", "--budget", budget});
    refused(2, "--stride: found 0", {"advise", "--budget", "1x", "--stride", "0"});
    refused(2, "--ways: sideways not in {append,append-approximate,aside,", {"advise", "--budget", "1x", "--ways", "sideways"});
    const auto swept = [&](const std::string& text) {
        return std::vector<std::string>{"advise", "--budget", "1x", "--sweep", folder.write("bad.json", text)};
    };
    refused(1, "is no JSON, expected what flashback bench --mode reuse --json prints", swept("no json"));
    refused(1, "has no sweep over reuse", swept(R"({"mode":"decode","runs":[1]})"));
    refused(1, "lacks a field, or has one of another type", swept(R"({"mode":"reuse"})"));
    const auto changed = [&](const char* field, const json& value) {
        json sweep = sweep_of_one_millisecond();
        sweep["runs"][3][field] = value;
        return swept(sweep.dump());
    };
    refused(1, "has the way \"sideways\"", changed("way", "sideways"));
    json few = sweep_of_one_millisecond();
    few["runs"].erase(few["runs"].begin() + 5, few["runs"].end());
    refused(1, "has 5 rows, too few for 6 costs", swept(few.dump()));
    json steps = sweep_of_one_millisecond();
    for (json& run : steps["runs"]) run["stride"] = 1;
    refused(1, "has no row with a stride above 1, so it does not tell what a single token costs", swept(steps.dump()));
    json unnamed = sweep_of_one_millisecond();
    unnamed["runs"][0]["model"] = 5;
    refused(1, "lacks a field, or has one of another type", swept(unnamed.dump()));
    refused(1, "has a length of 0", changed("k", 0));
    refused(1, "has a stride that is longer than the history", changed("stride", 101));
    refused(1, "has a row that was not timed", changed("seconds", 0));
    refused(1, "lacks a field, or has one of another type", changed("seconds", "soon"));
    refused(1, "cannot", {"advise", "--budget", "1x", "--sweep", (folder.path() / "absent.json").string()});
    std::vector<std::string> both = changed("k", 1);
    both.insert(both.end(), {"--threads", "1"});
    refused(2, "--sweep excludes --threads", both);
}

}  // namespace test_cli_advise

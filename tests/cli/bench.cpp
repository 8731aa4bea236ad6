// `flashback bench`: the JSON that other programs read, exact counts, and what it refuses. How fast anything is, is no test.
#include "cli/tool.hpp"
#include "support/folder_writer.hpp"

#include <algorithm>
#include <set>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// With as few repetitions as there can be, and memory that is filled at once: it is the counts that matter.
json bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    if (std::ranges::find(arguments, "--threads") == arguments.end()) arguments.insert(arguments.end(), {"--threads", "1"});
    arguments.insert(arguments.end(), {"--repetitions", "1", "--peak-memory", "4"});
    json found = tool_json(arguments);
    std::set<std::string> names{"mode", "runs", "peaks"};
    if (found["mode"] == "reuse") names.insert({"processor", "base", "found_again", "miss", "left_out", "append_wins"});
    CHECK(keys(found) == names);
    CHECK(keys(found["peaks"]) == std::set<std::string>{"threads", "f32_gops", "bf16_gops", "int8_gops", "read_gbs"});
    CHECK(found["peaks"]["f32_gops"] > 0);
    CHECK(found["peaks"]["read_gbs"] > 0);
    for (const json& run : found["runs"]) {
        for (const char* name : {"tokens_per_second", "median_tokens_per_second", "seconds", "share_of_peak"}) {
            CAPTURE(name);
            REQUIRE(run.contains(name));
            if (found["mode"] != "machine") CHECK(run[name] > 0);
        }
    }
    return found;
}

void bench_refused(int status, const std::string& words, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    refused(status, words, arguments);
}

}  // namespace

TEST_CASE("bench: prefill, a run for each m") {
    const json found = bench({"--mode", "prefill", "--m", "3,600", "--threads", "2", "--warmup", "0"});
    CHECK(found["mode"] == "prefill");
    CHECK(found["peaks"]["threads"] == 2);
    REQUIRE(found["runs"].size() == 2);
    CHECK(found["runs"][0]["m"] == 3);
    CHECK(found["runs"][1]["m"] == 600);  // more than the model's window
    CHECK(keys(found["runs"][0]) == std::set<std::string>{"model", "weights", "cache", "threads", "m", "context",
                                                          "tokens_per_second", "median_tokens_per_second", "seconds",
                                                          "share_of_peak", "gops"});
}

TEST_CASE("bench: decode, a run for each context, also beyond the model's window") {
    const json found = bench({"--mode", "decode", "--context", "0,512", "--steps", "4", "--threads", "1"});
    REQUIRE(found["runs"].size() == 2);
    CHECK(found["runs"][1]["context"] == 512);
    CHECK(keys(found["runs"][0]) == std::set<std::string>{"model", "weights", "cache", "threads", "context", "steps",
                                                          "tokens_per_second", "median_tokens_per_second", "seconds",
                                                          "share_of_peak", "gbs"});
}

TEST_CASE("bench: one step, a run for each context and layout, with exact counts") {
    const json found =
        bench({"--mode", "step", "--context", "40,100", "--layout", "append,prepend,recompute", "--warmup", "0"});
    REQUIRE(found["runs"].size() == 6);
    for (std::size_t i = 0; i < 6; ++i) {
        const json& run = found["runs"][i];
        const int context = i < 3 ? 40 : 100;
        CHECK(run["context"] == context);
        CHECK(run["layout"] == std::vector<std::string>{"append", "prepend", "recompute"}[i % 3]);
        CHECK(run["prefill_tokens"] == (i % 3 == 0 ? 144 : context + 128));
        CHECK(run["decode_tokens"] == 16);
        CHECK(run["evaluated"] == run["prefill_tokens"].get<int>() + 16);
        CHECK(run["reused"] == (i % 3 == 0 ? context - 16 : 0));
        CHECK(run["seconds"].get<double>() ==
              doctest::Approx(run["prefill_seconds"].get<double>() + run["decode_seconds"].get<double>()));
        CHECK(run["predicted_speedup_over_prepend"] > 0);
    }
    CHECK(found["runs"][1]["speedup_over_prepend"] == 1);
    CHECK(found["runs"][1]["predicted_speedup_over_prepend"] == 1);
    CHECK(keys(found["runs"][0]) == std::set<std::string>{"model",
                                                          "weights",
                                                          "cache",
                                                          "threads",
                                                          "layout",
                                                          "context",
                                                          "passage",
                                                          "stride",
                                                          "evaluated",
                                                          "reused",
                                                          "prefill_tokens",
                                                          "decode_tokens",
                                                          "tokens_per_second",
                                                          "median_tokens_per_second",
                                                          "seconds",
                                                          "share_of_peak",
                                                          "prefill_seconds",
                                                          "decode_seconds",
                                                          "cost_ratio",
                                                          "speedup_over_prepend",
                                                          "predicted_speedup_over_prepend"});
    const json alone = bench({"--mode", "step", "--context", "40", "--layout", "append"});
    CHECK(alone["runs"][0]["speedup_over_prepend"].is_null());
}

TEST_CASE("bench: stored, a run for each passage and what it is rounded to") {
    const json found = bench({"--mode", "stored", "--passage", "32,100", "--threads", "1"});
    REQUIRE(found["runs"].size() == 6);
    for (std::size_t i = 0; i < 6; ++i) {
        const json& run = found["runs"][i];
        CHECK(run["passage_tokens"] == (i < 3 ? 32 : 100));
        CHECK(run["element"] == std::vector<std::string>{"as-evaluated", "f16", "int8"}[i % 3]);
        for (const char* seconds : {"seconds", "keep_seconds", "find_seconds", "file_seconds"}) CHECK(run[seconds] > 0);
        CHECK(run["break_even_mbs"].get<double>() ==
              doctest::Approx(run["bytes"].get<double>() / run["seconds"].get<double>() / 1e6));
    }
    const auto bytes = [&](std::size_t i) { return found["runs"][i]["bytes"].get<double>(); };
    CHECK(bytes(1) / 32 == bytes(4) / 100);
    CHECK(bytes(1) < bytes(0));
    CHECK(bytes(2) < bytes(1));
}

TEST_CASE("bench: the loop, whole or sampled, counts the same") {
    const std::vector<std::string> arguments{"--mode", "loop", "--init", "32", "--length", "240"};  // 5 retrievals, 80 tokens
    const std::vector<std::string> two{"--layout", "append,prepend"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), arguments.begin(), arguments.end());
        return bench(more);
    };
    const json whole = with(two);
    const json sampled = with({"--layout", "append,prepend", "--sample", "2"});
    for (const json& found : {whole, sampled}) {
        REQUIRE(found["runs"].size() == 2);
        for (const json& run : found["runs"]) {
            CHECK(run["retrievals"] == 5);
            CHECK(run["init"] == 32);
            CHECK(run["length"] == 240);
            CHECK(run["decode_tokens"] == 75);
        }
        CHECK(found["runs"][0]["prefill_tokens"] == 160 + 4 * 144);
        CHECK(found["runs"][0]["reused"] == 32 + 48 + 64 + 80);
        CHECK(found["runs"][1]["prefill_tokens"] == 5 * 128 + 32 + 48 + 64 + 80 + 96);
        CHECK(found["runs"][1]["reused"] == 0);
    }
    CHECK(whole["runs"][0]["sampled_retrievals"].is_null());
    CHECK(sampled["runs"][0]["sampled_retrievals"] == 3);  // the first, which is not like the others, and two of them

    const json all = with({});
    REQUIRE(all["runs"].size() == 4);
    CHECK(all["runs"][0]["layout"] == "aside-stored");
    CHECK(all["runs"][0]["prefill_tokens"] == 32 + 4 * 17);
    CHECK(all["runs"][0]["reused"] == 5 * 128 + 31 + 47 + 63 + 79);
    CHECK(all["runs"][1]["layout"] == "aside");
    CHECK(all["runs"][1]["prefill_tokens"] == 5 * 128 + 32 + 4 * 17);
}

TEST_CASE("bench: the machine alone") {
    const json found = bench({"--mode", "machine", "--threads", "2"});
    REQUIRE(found["runs"].size() == 2);
    CHECK(found["runs"][0]["threads"] == 1);
    CHECK(found["runs"][1]["threads"] == 2);
    CHECK(found["runs"][1]["f32_gops"] == found["peaks"]["f32_gops"]);
}

TEST_CASE("bench: a table, and comma-separated values") {
    const TemporaryFolder folder;
    const std::string csv = (folder.path() / "runs.csv").string();
    const Result plain = tool({"bench", "--mode", "prefill", "--m", "2,3", "--repetitions", "1", "--threads", "1",
                               "--peak-memory", "4", "--csv", csv});
    CHECK(plain.status == 0);
    CHECK(plain.err.empty());
    CHECK(plain.out.find("tokens/s") != std::string::npos);
    CHECK(std::ranges::count(plain.out, '\n') == 5);  // the model, names, two runs, the peaks
    std::ifstream file{csv};
    std::string line;
    std::vector<std::string> lines;
    while (std::getline(file, line)) lines.push_back(line);
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].starts_with("model,weights,cache,threads,m,context,tokens_per_second,"));
    CHECK(lines[2].find(",3,0,") != std::string::npos);
    CHECK(std::ranges::count(lines[0], ',') == std::ranges::count(lines[2], ','));
    const Result sampled = tool({"bench", "--mode", "loop", "--init", "20", "--length", "200", "--layout", "append", "--sample",
                                 "1", "--peak-memory", "4"});
    CHECK(sampled.out.find("sampled: 2 of 4 retrievals were timed") != std::string::npos);
}

TEST_CASE("bench: what makes no sense is refused in words") {
    bench_refused(2, "--mode: warp not in {decode,loop,machine,prefill,reuse,schedule,step,stored}; see flashback bench --help",
                  {"--mode", "warp"});
    bench_refused(2, "--mode: 2 not in {", {"--mode", "2"});
    bench_refused(2, "--m: found 0, expected a whole number of at least 1", {"--m", "16,0"});
    bench_refused(2, "--layout: sideways not in {append,aside,aside-stored,prepend,recompute}",
                  {"--mode", "step", "--layout", "sideways"});
    bench_refused(2, "--steps: --mode prefill does not read it, decode and schedule do", {"--mode", "prefill", "--steps", "3"});
    bench_refused(2, "--passage: --mode step does not read it, reuse, schedule and stored do; see flashback bench --help",
                  {"--mode", "step", "--passage", "32"});
    bench_refused(2, "--passage: found 0", {"--mode", "stored", "--passage", "0"});
    bench_refused(2, "--sample: found 0", {"--mode", "loop", "--sample", "0"});
    bench_refused(2, "--repetitions: found 0", {"--repetitions", "0"});
    bench_refused(2, "--shape: found 'llama9:f32', expected SHAPE:DTYPE with a shape of llama2-7b, llama2-13b, tinyllama-1.1b",
                  {"--shape", "llama9:f32"});
    bench_refused(2, "--shape: found 'llama2-7b', expected SHAPE:DTYPE", {"--shape", "llama2-7b"});
    bench_refused(2, "found the type 'f12'", {"--shape", "llama2-7b:f12"});
    bench_refused(2, "--model", {"--shape", "llama2-7b:f32", "--model", FLASHBACK_TEST_MODEL});
    bench_refused(1, "a run-time test of length 600 generates nothing: the initial text has 512 tokens and a passage 128",
                  {"--mode", "loop", "--length", "600"});
    for (const char* mode : {"machine", "prefill"})
        bench_refused(1, "--peak-memory: there is no memory for 2147483647 MiB",
                      {"--mode", mode, "--peak-memory", "2147483647"});
    bench_refused(1, "nowhere.gguf': No such file", {"--model", "nowhere.gguf"});
    bench_refused(1, "cannot write '/nowhere/runs.csv'", {"--csv", "/nowhere/runs.csv"});
    bench_refused(1, "random weights of type Q5_1, expected F32, F16, BF16, Q8_0 or Q4_0", {"--shape", "tinyllama-1.1b:q5_1"});
}

TEST_CASE("bench: a model whose positions are a table reads no further than that") {
    const TemporaryFolder folder;
    const std::string model = (folder.path() / "opt").string();
    const flashback::TransformerConfig shape = small_shape(flashback::Family::opt);
    FolderWriter{random_weights(shape, true)}.write(model);
    const std::string table = "opt' has a table of " + std::to_string(shape.window) + " positions";
    bench_refused(1, table + ", but the longest run needs 20001", {"--model", model, "--mode", "stored", "--passage", "20000"});
    bench_refused(1, table, {"--model", model, "--mode", "decode", "--context", std::to_string(shape.window)});
    const json fits =
        bench({"--model", model, "--mode", "decode", "--context", std::to_string(shape.window - 2), "--steps", "2"});
    CHECK(fits["runs"].size() == 1);
    // A random model has a table that is long enough.
    CHECK(bench({"--shape", "opt-125m:q8_0", "--mode", "decode", "--context", "2048", "--steps", "1"})["runs"].size() == 1);
}

// Several processes, which mpirun starts, write the files of one and print what it prints; what one cannot ends all of them.
#include "cli/training.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// A line of the shell that starts processes with these arguments, all the same or one group behind the other.
std::string mpirun(const std::vector<std::pair<int, std::vector<std::string>>>& groups, const std::string& more = "") {
    std::string command =
        "timeout -k 5 100 " + quoted(FLASHBACK_MPIRUN) + " --allow-run-as-root --oversubscribe --bind-to none " + more;
    std::string behind = " ";
    for (const auto& [count, arguments] : groups) {
        command += behind + "-n " + std::to_string(count) + ' ' + command_line(arguments);
        behind = " : ";
    }
    return command;
}

/// The lines of the tool on standard error; mpirun has some of its own.
std::vector<std::string> said(const Result& result) {
    std::vector<std::string> lines;
    std::istringstream all{result.err};
    for (std::string line; std::getline(all, line);) {
        if (line.starts_with("flashback: ")) lines.push_back(line);
    }
    return lines;
}

/// All processes end with one sentence, which has these words.
void check_all_refuse(const std::string& words, const std::vector<std::pair<int, std::vector<std::string>>>& groups) {
    CAPTURE(words);
    const Result result = shell(mpirun(groups));
    INFO("standard error: " << result.err);
    CHECK(result.status != 0);
    CHECK(result.status < 124);  // not by the clock
    CHECK(result.out.empty());
    std::size_t found = 0;
    for (const std::string& line : said(result)) found += line.find(words) != line.npos ? 1u : 0u;
    CHECK(found == 1);
}

json json_of(const std::vector<std::pair<int, std::vector<std::string>>>& groups) {
    const Result result = shell(mpirun(groups));
    INFO("standard error: " << result.err);
    REQUIRE(result.status == 0);
    return json::parse(result.out);
}

/// Without what a clock decides, and names.
json without_times(json object) {
    for (const char* name : {"seconds", "tokens_per_second", "adapter", "model", "trained_model"}) object.erase(name);
    return object;
}

/// A tiny model, and texts.
struct World {
    TemporaryFolder folder;
    std::string model = tiny_model(folder);
    std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    std::string learnt = folder.write("learnt.jsonl", documents_to_learn(40));
    std::string valid = folder.write("valid.jsonl", documents_to_retrieve(9));

    std::string path(const std::string& name) const { return (folder.path() / name).string(); }
    std::string read(const std::string& name) const { return read_file(path(name)); }
    std::vector<std::string> finetune(const std::string& out, std::vector<std::string> more) const {
        more.insert(more.end(), {"--batch", "6", "--log", path(out + ".csv"), "--json"});  // three texts of two strides, or six
        return finetune_arguments(model, texts, path(out), more);
    }
    std::vector<std::string> pretrain(const std::string& out, std::vector<std::string> more) const {
        more.insert(more.end(), {"--name", "tiny", "--log", path(out + ".csv"), "--json"});
        return pretrain_arguments(learnt, path(out + ".gguf"), more);
    }
};

const std::vector<std::string> files_of_adapter{"/adapter_config.json", "/adapter_model.safetensors"};

/// A run that is killed in several ways, and how it is started: with a name for what it writes, and more options.
struct Killed {
    const World& world;
    std::vector<std::string> (World::*start)(const std::string& out, std::vector<std::string> more) const;
    std::vector<std::string> options;
    std::vector<std::string> files;  // behind the name, what it writes

    std::vector<std::string> arguments(const std::string& out, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> all = options;
        all.insert(all.end(), more.begin(), more.end());
        return (world.*start)(out, all);
    }

    /// Kills a rank of `processes` when the log has some rows: the others say so and end, and the run goes on in one process.
    void kill_one(int processes, int killed, const std::string& whole) const {
        CAPTURE(processes);
        CAPTURE(killed);
        const std::string out = whole + "-killed" + std::to_string(processes) + std::to_string(killed);
        const std::vector<std::string> all =
            arguments(out, {"--checkpoint", world.path(out + ".ckpt"), "--checkpoint-every", "2", "--threads", "1"});
        const std::string job = "FLASHBACK_TEST_JOB=" + world.path(out);  // so that its processes are found
        const std::string find = "for e in /proc/[0-9]*/environ; do case \"$(tr '\\0' ' ' <$e 2>/dev/null)\" in *" + job +
                                 "*) tr '\\0' '\\n' <$e | "
                                 "grep -qx OMPI_COMM_WORLD_RANK=" +
                                 std::to_string(killed) + " && e=${e#/proc/} && kill -KILL ${e%/environ};; esac; done";
        // A busy machine needs more than the usual second between being asked to end and being killed.
        const Result result = shell(job + ' ' + mpirun({{processes, all}}, "--mca odls_base_sigkill_timeout 2") +
                                    " & job=$!; while kill -0 $job && [ \"$(cat " + quoted(world.path(out + ".csv")) +
                                    " 2>/dev/null | wc -l)\" -lt 6 ]; do sleep 0.02; done; " + find + "; wait $job");
        INFO("standard error: " << result.err);
        CHECK(result.status != 0);
        CHECK(result.status < 200);
        CHECK_FALSE(result.status == 124);  // mpirun ended by itself
        CHECK(result.out.empty());
        std::size_t ended = 0;
        for (const std::string& line : said(result)) {
            const bool waited = line.find("was asked to end while it waited for rank") != line.npos;
            const bool stopped = line.find("the run was stopped after step") != line.npos;  // between two waits
            ended += waited || stopped ? 1u : 0u;
        }
        CHECK(ended >= 1);
        CHECK(ended <= static_cast<std::size_t>(processes) - 1);
        for (const std::string& file : files) CHECK_FALSE(std::filesystem::exists(world.path(out + file)));
        const json found = tool_json(all);
        CHECK(found["resumed_from"].get<int>() >= 4);
        CHECK(found["resumed_from"].get<int>() < 400);
        for (const std::string& file : files) CHECK((world.read(out + file) == world.read(whole + file)));
        CHECK(without_seconds(world.read(out + ".csv")) == without_seconds(world.read(whole + ".csv")));
    }
};

}  // namespace

TEST_CASE("finetune in 2 and 3 processes writes the adapter and the log of one, and prints the same") {
    const World w;
    const std::vector<std::string> options{"--steps", "6", "--valid", w.valid, "--valid-strides", "40", "--valid-every", "2"};
    for (const bool share : {false, true}) {
        CAPTURE(share);
        std::vector<std::string> more = options;
        more.emplace_back(share ? "--share-history" : "--no-share-history");
        const std::string one = share ? "shared" : "one";
        const json expected = without_times(tool_json(w.finetune(one, more)));
        for (const int processes : {2, 3}) {
            CAPTURE(processes);
            const std::string several = one + std::to_string(processes);
            std::vector<std::string> cached = more;
            cached.insert(cached.end(), {"--examples-cache", w.path(one + ".examples")});
            CHECK(without_times(json_of({{processes, w.finetune(several, cached)}})) == expected);
            for (const std::string& file : files_of_adapter) CHECK((w.read(several + file) == w.read(one + file)));
            CHECK(without_seconds(w.read(several + ".csv")) == without_seconds(w.read(one + ".csv")));
            CHECK_FALSE(std::filesystem::exists(w.path(several + ".checkpoint")));
        }
    }
}

TEST_CASE(
    "a process is killed: the others end with a sentence, the checkpoint is whole, and one process goes on to the same bytes") {
    const World w;
    const Killed finetune{w, &World::finetune, {"--steps", "400"}, files_of_adapter};
    tool_json(finetune.arguments("whole"));
    finetune.kill_one(2, 0, "whole");
    finetune.kill_one(2, 1, "whole");
    finetune.kill_one(3, 1, "whole");
    const Killed pretrain{w, &World::pretrain, {"--steps", "400"}, {".gguf"}};
    tool_json(pretrain.arguments("model"));
    pretrain.kill_one(2, 1, "model");
}

TEST_CASE("a run of one process goes on in two") {
    const World w;
    const std::vector<std::string> options{"--steps", "200"};
    const json expected = without_times(tool_json(w.finetune("whole", options)));
    const std::vector<std::string> parts =
        w.finetune("parts", {"--steps", "200", "--checkpoint", w.path("ckpt"), "--checkpoint-every", "1", "--threads", "1"});
    const Result stopped = signalled("KILL", 3, w.path("parts.csv"), parts);
    CHECK(stopped.status == 137);
    const json found = json_of({{2, parts}});
    CHECK(found["resumed_from"].get<int>() >= 1);
    for (const std::string& file : files_of_adapter) CHECK((w.read("parts" + file) == w.read("whole" + file)));
    CHECK(without_seconds(w.read("parts.csv")) == without_seconds(w.read("whole.csv")));
    CHECK(found["loss"] == expected["loss"]);
}

TEST_CASE("pretrain in 2 and 3 processes writes the model and the log of one") {
    const World w;
    const auto arguments = [&](const std::string& out) {
        return w.pretrain(out, {"--steps", "6", "--valid", w.valid, "--valid-window", "20", "--valid-every", "3"});
    };
    const json expected = without_times(tool_json(arguments("one")));
    for (const int processes : {2, 3}) {
        CAPTURE(processes);
        const std::string several = "several" + std::to_string(processes);
        CHECK(without_times(json_of({{processes, arguments(several)}})) == expected);
        CHECK((w.read(several + ".gguf") == w.read("one.gguf")));
        CHECK(without_seconds(w.read(several + ".csv")) == without_seconds(w.read("one.csv")));
    }
}

TEST_CASE("ppl in 2 and 3 processes prints and logs what one does, without and with retrieval") {
    const World w;
    const std::vector<std::string> plain{"ppl",      "--model", w.model,    "--text", w.valid,
                                         "--window", "40",      "--stride", "24",     "--json"};
    const std::vector<std::string> strides{
        "ppl", "--model",          w.model, "--text",   w.valid, "--corpus", w.texts,  "--query-tokens",
        "12",  "--passage-tokens", "12",    "--stride", "4",     "--layout", "append", "--json"};
    std::vector<std::string> schedule = strides;
    schedule.erase(std::ranges::find(schedule, "--stride"), std::ranges::find(schedule, "--stride") + 2);
    schedule.insert(schedule.end(), {"--schedule", "entropy:3", "--hold", "16"});
    std::vector<std::string> branches = strides;
    branches.insert(branches.end(), {"--fusion", "mixture", "--passages", "2"});
    for (const std::vector<std::string>& arguments : {plain, strides, schedule, branches}) {
        const bool logs = arguments.size() > plain.size();
        const auto logged = [&](const std::string& name) {
            std::vector<std::string> all = arguments;
            if (logs) all.insert(all.end(), {"--log", w.path(name)});
            return all;
        };
        const Result result = tool(logged("one.csv"));
        INFO("standard error: " << result.err);
        REQUIRE(result.status == 0);
        const json expected = without_times(json::parse(result.out));
        for (const int processes : {2, 3}) {
            CAPTURE(processes);
            const std::string log = "several" + std::to_string(processes) + ".csv";
            CHECK(without_times(json_of({{processes, logged(log)}})) == expected);
            if (logs) CHECK(w.read(log) == w.read("one.csv"));
        }
    }
}

TEST_CASE("processes that differ, or of which one fails, all end with one sentence") {
    const World w;
    const std::string other = w.folder.write("other.jsonl", documents_to_retrieve(61));
    const auto run = [&](const std::vector<std::string>& more) { return w.finetune("out", more); };
    check_all_refuse("rank 1 differs from rank 0: its --alpha is 16, but that of rank 0 is not given",
                     {{1, run({"--steps", "3"})}, {1, run({"--steps", "3", "--alpha", "16"})}});
    check_all_refuse("rank 2 differs from rank 0: its data is ",
                     {{2, run({"--steps", "3"})}, {1, run({"--steps", "3", "--corpus", other})}});
    check_all_refuse("rank 1: cannot open '/nowhere.gguf'",
                     {{1, run({"--steps", "3"})}, {1, run({"--steps", "3", "--model", "/nowhere.gguf"})}});
    check_all_refuse("cannot open '/nowhere.gguf'", {{3, run({"--steps", "3", "--model", "/nowhere.gguf"})}});
    check_all_refuse("--steps: found 0, expected a whole number of at least 1", {{2, run({"--steps", "0"})}});
    std::filesystem::create_directory(w.path("out"));
    w.folder.write("out/adapter_config.json", "{}");
    check_all_refuse("holds an adapter already; --force replaces it", {{3, run({"--steps", "3"})}});
    check_all_refuse("rank 1 differs from rank 0: its text is ", {{1, {"ppl", "--model", w.model, "--text", w.texts}},
                                                                  {1, {"ppl", "--model", w.model, "--text", w.valid}}});
    check_all_refuse("rank 1 differs from rank 0: its --examples-cache is not given, but that of rank 0 is given",
                     {{1, run({"--steps", "3", "--examples-cache", w.path("examples")})}, {1, run({"--steps", "3"})}});
    check_all_refuse("--text is -, standard input, which mpirun gives to rank 0 only",
                     {{2, {"ppl", "--model", w.model, "--text", "-"}}});
    check_all_refuse("mpirun has started 2 processes of tokenize, which runs in one", {{2, {"tokenize", "--text", "a"}}});
}

TEST_CASE("processes that mpirun of Open MPI has not started are refused") {
    const World w;
    const std::string ppl = command_line({"ppl", "--model", w.model, "--text", w.valid});
    for (const char* told : {"PMI_SIZE=4 ", "PMIX_RANK=0 SLURM_NTASKS=4 "}) {
        const Result result = shell(told + ppl);
        CHECK(result.status == 1);
        CHECK(result.err ==
              "flashback: srun or another MPI has started 4 processes, expected mpirun of Open MPI, or one process\n");
    }
    for (const char* told : {"PMI_SIZE=1 ", "SLURM_NTASKS=4 "}) CHECK(shell(told + ppl).status == 0);
}

// `flashback pretrain`: it learns, it goes on after SIGKILL as if nothing had happened, and what it refuses.
#include "cli/tool.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <utility>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// Documents that a small model learns fast.
std::string jsonl(std::size_t documents) {
    std::string text;
    for (std::size_t i = 0; i < documents; ++i) {
        text += R"({"_id":")" + std::to_string(i) + R"(","title":"kernel","text":"The kernel is part number )" +
                std::to_string(i * i % 97) + R"( of an operating system; it shares the memory among programs."})" + "\n";
    }
    return text;
}

/// A run of a tiny model; options in `more` take the place of those that are here.
std::vector<std::string> arguments(const std::string& train, const std::string& out,
                                   const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{"pretrain"};
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{{"--train", train},
                                                                                      {"--out", out},
                                                                                      {"--layers", "1"},
                                                                                      {"--width", "32"},
                                                                                      {"--heads", "2"},
                                                                                      {"--hidden", "48"},
                                                                                      {"--window", "32"},
                                                                                      {"--batch", "4"},
                                                                                      {"--lr", "0.01"},
                                                                                      {"--threads", "2"}}) {
        if (std::ranges::find(more, name) == more.end()) all.insert(all.end(), {name, value});
    }
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

std::string read(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// The columns of a log that are no times.
std::string without_seconds(const std::string& log) {
    std::istringstream rows{log};
    std::string kept;
    for (std::string row; std::getline(rows, row);) {
        const std::size_t behind = row.rfind(',');
        kept += row.substr(0, row.rfind(',', behind - 1)) + row.substr(behind) + '\n';
    }
    return kept;
}

void refused(int status, const std::string& words, const std::vector<std::string>& all) {
    Result result = tool(all);
    // What it reads is said before: the sentence is the last line.
    const std::size_t last = result.err.rfind("flashback: ");
    result.err = result.err.substr(last == std::string::npos ? 0 : last);
    check_refused(result, status, words);
}

}  // namespace

TEST_CASE("pretrain: the loss falls, and the file is a model whose texts end with </s>") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "tiny.gguf").string();
    const std::string log = (folder.path() / "log.csv").string();
    const std::string train = folder.write("train.jsonl", jsonl(100));
    const std::string valid = folder.write("valid.txt", "The kernel is part number 7 of an operating system.");
    const json found = tool_json(
        arguments(train, out, {"--steps", "60", "--valid", valid, "--valid-every", "20", "--log", log, "--dtype", "f32"}));
    CHECK(keys(found) == std::set<std::string>{"model", "bytes", "dtype", "parameters", "train", "steps", "resumed_from",
                                               "loss", "seconds", "tokens_per_second", "valid"});
    CHECK(found["resumed_from"] == 0);
    CHECK(found["train"]["documents"] == 100);
    CHECK(found["parameters"] == 4098 * 32 + 4 * 32 * 32 + 3 * 32 * 48 + 3 * 32);
    CHECK(found["loss"].get<double>() < 4);
    CHECK(found["valid"]["nats_per_token"].get<double>() < 5);

    std::istringstream rows{read(log)};
    std::string row;
    std::getline(rows, row);
    CHECK(row == "step,loss,gradient_norm,learning_rate,tokens,seconds,valid_nats");
    std::size_t validated = 0;
    std::size_t number = 0;
    while (std::getline(rows, row)) {
        CHECK(row.starts_with(std::to_string(++number) + ","));
        if (!row.ends_with(',')) ++validated;
    }
    CHECK(number == 60);
    CHECK(validated == 2);  // behind steps 20 and 40; the end is in the summary

    const json measured = tool_json({"ppl", "--model", out, "--text", valid, "--window", "31"});
    CHECK(measured["nats_per_token"].get<double>() ==
          doctest::Approx(found["valid"]["nats_per_token"].get<double>()).epsilon(1e-5));
    CHECK(measured["tokens"] == found["valid"]["tokens"]);
    const json inspected = tool_json({"inspect", "--model", out});
    CHECK(inspected["vocabulary"]["eos"] == 2);
    CHECK(inspected["name"] == "tiny");
    CHECK(tool_json({"generate", "--model", out, "--layout", "none", "--prompt", "The kernel is"})["stop"] == "eos");
}

TEST_CASE("pretrain: killed and resumed, it writes the bytes of a run that was never interrupted") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const std::string train = folder.write("train.jsonl", jsonl(100));
    const std::vector<std::string> options{"--steps", "150", "--name", "tiny"};
    auto whole = options;
    whole.insert(whole.end(), {"--log", path("whole.csv")});
    REQUIRE(tool(arguments(train, path("whole.gguf"), whole)).status == 0);

    auto parts = options;
    parts.insert(parts.end(), {"--log", path("parts.csv"), "--checkpoint", path("ckpt"), "--checkpoint-every", "7"});
    const auto all = arguments(train, path("parts.gguf"), parts);
    std::string command = "exec " + quoted(FLASHBACK_TOOL);
    for (const auto& argument : all) command += ' ' + quoted(argument);
    // Killed behind 20 steps at least; the rows of the log count them.
    const Result killed = shell("(" + command + ") & while [ \"$(cat " + quoted(path("parts.csv")) +
                                " 2>/dev/null | wc -l)\" -lt 21 ]; do sleep 0.01; done; kill -KILL $!; wait $! || true");
    CHECK_FALSE(std::filesystem::exists(path("parts.gguf")));
    folder.write("ckpt.part0", "of a run that was killed while it wrote");
    const json resumed = tool_json(all);
    CHECK(resumed["resumed_from"].get<int>() >= 14);
    CHECK(resumed["resumed_from"].get<int>() < 150);
    CHECK(resumed["resumed_from"].get<int>() % 7 == 0);
    CHECK(read(path("parts.gguf")) == read(path("whole.gguf")));
    CHECK(without_seconds(read(path("parts.csv"))) == without_seconds(read(path("whole.csv"))));
    CHECK_FALSE(std::filesystem::exists(path("ckpt.part0")));

    auto other = all;
    other.insert(other.end(), {"--force", "--seed", "3"});
    refused(1, "is of another run: its seed is 0, but now it is 3", other);
    folder.write("train.jsonl", jsonl(101));
    auto again = all;
    again.emplace_back("--force");
    refused(1, "is of another run: its data is ", again);
    folder.write("train.jsonl", jsonl(100));
    std::string bytes = read(path("ckpt"));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    folder.write("ckpt", bytes);
    refused(1, "is damaged: what it holds does not give its checksum", again);
    folder.write("ckpt", bytes.substr(0, bytes.size() / 2));
    refused(1, "ckpt'", again);
}

TEST_CASE("pretrain: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "out.gguf").string();
    const std::string train = folder.write("train.jsonl", jsonl(20));
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "5"});
        return arguments(train, out, more);
    };
    refused(2, "--steps is required", arguments(train, out));
    refused(1, "loss of", with({"--lr", "1e30", "--clip", "0", "--decay", "constant", "--warmup-ratio", "0"}));
    refused(1, "empty.txt' holds no text, expected some to train on", with({"--train", folder.write("empty.txt", " \n\f\n")}));
    refused(1, "expected at least one window of 32", arguments(folder.write("short.txt", "A text."), out, {"--steps", "5"}));
    refused(1, "line 1 is no JSON", with({"--train", folder.write("bad.jsonl", "{\"text\"")}));
    refused(1, "the document has no \"text\"", with({"--train", folder.write("none.jsonl", "{\"title\": \"a\"}")}));
    refused(1, "holds no text, expected some to validate with", with({"--valid", folder.write("empty.txt", "")}));
    refused(1, "expected --width to be a multiple of 2 x --heads", with({"--heads", "5"}));
    refused(1, "--kv-heads is 3, expected a divisor of the 2 heads", with({"--kv-heads", "3"}));
    refused(1, "there is no folder", with({"--checkpoint", "/nowhere/run.ckpt"}));
    refused(2, "--checkpoint-every: found 0s", with({"--checkpoint", "c", "--checkpoint-every", "0s"}));
    refused(1, "exists already; --force replaces it", arguments(train, folder.write("old.gguf", "old"), {"--steps", "5"}));
    CHECK_FALSE(std::filesystem::exists(out));
}

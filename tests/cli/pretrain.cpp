// `flashback pretrain`: it learns, it goes on after SIGKILL as if nothing had happened, and what it refuses.
#include "cli/training.hpp"

#include <filesystem>
#include <set>
#include <sstream>

using namespace flashback_test;
using nlohmann::json;

TEST_CASE("pretrain: the loss falls, and the file is a model whose texts end with </s>") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "tiny.gguf").string();
    const std::string log = (folder.path() / "log.csv").string();
    const std::string train = folder.write("train.jsonl", documents_to_learn(100));
    const std::string valid = folder.write("valid.txt", "The kernel is part number 7 of an operating system.");
    const json found = tool_json(pretrain_arguments(
        train, out, {"--steps", "60", "--valid", valid, "--valid-every", "20", "--log", log, "--dtype", "f32"}));
    CHECK(keys(found) == std::set<std::string>{"model", "bytes", "dtype", "parameters", "parted", "train", "steps",
                                               "resumed_from", "loss", "seconds", "tokens_per_second", "valid"});
    CHECK(found["resumed_from"] == 0);
    CHECK(found["train"]["documents"] == 100);
    CHECK(found["parameters"] == 4098 * 32 + 4 * 32 * 32 + 3 * 32 * 48 + 3 * 32);
    CHECK(found["loss"].get<double>() < 4);
    CHECK(found["valid"]["nats_per_token"].get<double>() < 5);

    std::istringstream rows{read_file(log)};
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
    CHECK(validated == 3);                  // after steps 20 and 40, and at the end
    CHECK(found["valid"]["window"] == 31);  // of the 32 of the model one is BOS

    const json measured = tool_json({"ppl", "--model", out, "--text", valid, "--window", "31"});
    CHECK(measured["nats_per_token"].get<double>() ==
          doctest::Approx(found["valid"]["nats_per_token"].get<double>()).epsilon(1e-5));
    CHECK(measured["tokens"] == found["valid"]["tokens"]);
    const json inspected = tool_json({"inspect", "--model", out});
    CHECK(inspected["vocabulary"]["eos"] == 2);
    CHECK(inspected["name"] == "tiny");
    CHECK(tool_json({"generate", "--model", out, "--layout", "none", "--prompt", "The kernel is"})["stop"] == "eos");

    const json rounded = tool_json(pretrain_arguments(train, out, {"--steps", "60", "--precision", "bf16", "--force"}));
    CHECK(rounded["loss"] != found["loss"]);
    CHECK(rounded["loss"].get<double>() == doctest::Approx(found["loss"].get<double>()).epsilon(0.02));
}

TEST_CASE("pretrain: killed and resumed, it writes the bytes of a run that was never interrupted") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const std::string train = folder.write("train.jsonl", documents_to_learn(100));
    const std::vector<std::string> options{"--steps", "150", "--name", "tiny"};
    auto whole = options;
    whole.insert(whole.end(), {"--log", path("whole.csv")});
    REQUIRE(tool(pretrain_arguments(train, path("whole.gguf"), whole)).status == 0);

    auto parts = options;
    parts.insert(parts.end(), {"--log", path("parts.csv"), "--checkpoint", path("ckpt"), "--checkpoint-every", "7"});
    const auto all = pretrain_arguments(train, path("parts.gguf"), parts);
    signalled("KILL", 21, path("parts.csv"), all);  // after at least 20 steps; the rows of the log count them
    CHECK_FALSE(std::filesystem::exists(path("parts.gguf")));
    folder.write("ckpt.part0", "of a run that was killed while it wrote");
    const json resumed = tool_json(all);
    CHECK(resumed["resumed_from"].get<int>() >= 14);
    CHECK(resumed["resumed_from"].get<int>() < 150);
    CHECK(resumed["resumed_from"].get<int>() % 7 == 0);
    CHECK(read_file(path("parts.gguf")) == read_file(path("whole.gguf")));
    CHECK(without_seconds(read_file(path("parts.csv"))) == without_seconds(read_file(path("whole.csv"))));
    CHECK_FALSE(std::filesystem::exists(path("ckpt.part0")));

    auto other = all;
    other.insert(other.end(), {"--force", "--seed", "3"});
    check_refused_at_last(1, "is of another run: its seed is 0, but now it is 3", other);
    auto rounded = all;
    rounded.insert(rounded.end(), {"--force", "--precision", "bf16"});
    check_refused_at_last(1, "is of another run: its precision is absent, but now it is bf16", rounded);
    folder.write("train.jsonl", documents_to_learn(101));
    auto again = all;
    again.emplace_back("--force");
    check_refused_at_last(1, "is of another run: its data is ", again);
    folder.write("train.jsonl", documents_to_learn(100));
    std::string bytes = read_file(path("ckpt"));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    folder.write("ckpt", bytes);
    check_refused_at_last(1, "is damaged: what it holds does not give its checksum", again);
    folder.write("ckpt", bytes.substr(0, bytes.size() / 2));
    check_refused_at_last(1, "ckpt'", again);
}

TEST_CASE("pretrain, finetune: a run keeps a checkpoint beside what it writes, without being asked, until that is written") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const auto left_behind = [&] {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator{folder.path()})
            names.insert(entry.path().filename().string());
        return names;
    };
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string model = tiny_model(folder);
    const std::vector<std::string> options{"--steps", "150", "--log", path("log.csv")};
    for (const bool tuning : {false, true}) {
        CAPTURE(tuning);
        const auto with = [&](const std::string& out, const std::vector<std::string>& more) {
            return tuning ? finetune_arguments(model, texts, out, more) : pretrain_arguments(texts, out, more);
        };
        const auto bytes_of = [&](const std::string& out) {
            return read_file(tuning ? out + "/adapter_model.safetensors" : out);
        };
        auto named = options;
        if (!tuning) named.insert(named.end(), {"--name", "tiny"});
        const std::string out = path(tuning ? "deep/adapter/" : "out.gguf");
        const std::string whole = path(tuning ? "whole_adapter" : "whole.gguf");
        auto none = named;
        none.insert(none.end(), {"--checkpoint", "none"});
        REQUIRE(tool(with(whole, none)).status == 0);
        std::filesystem::remove(path("log.csv"));
        const Result ended = signalled("TERM", 9, path("log.csv"), with(out, named));
        CHECK(ended.status == 1);
        CHECK(ended.err.find("the same command goes on from there") != ended.err.npos);
        const std::string checkpoint = path(tuning ? "deep/adapter.checkpoint" : "out.gguf.checkpoint");
        CHECK(std::filesystem::exists(checkpoint));
        auto other = named;
        other.insert(other.end(), {"--clip", "2"});
        check_refused_at_last(1,
                              "its clip is 1, but now it is 2; remove the file to begin anew, or give --checkpoint another one",
                              with(out, other));
        const json found = tool_json(with(out, named));
        CHECK(found["resumed_from"].get<int>() >= 8);
        CHECK((bytes_of(out) == bytes_of(whole)));
        CHECK_FALSE(std::filesystem::exists(checkpoint));
        CHECK_FALSE(std::filesystem::exists(checkpoint + ".lock"));
    }
    CHECK(left_behind() == std::set<std::string>{"deep", "log.csv", "out.gguf", "pretrain.jsonl", "texts.jsonl", "tiny.gguf",
                                                 "whole.gguf", "whole_adapter"});
    REQUIRE(tool(finetune_arguments(model, texts, path("kept"), {"--steps", "2", "--checkpoint", path("ckpt")})).status == 0);
    CHECK(std::filesystem::exists(path("ckpt")));  // one that was asked for stays
}

TEST_CASE("pretrain --parted: passages interrupt a share of the sequences, which is another run, and goes on like any other") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "out.gguf").string();
    const std::string whole = (folder.path() / "whole.gguf").string();
    const std::string train = folder.write("train.jsonl", documents_to_learn(100));
    const auto with = [&](const std::string& file, const std::vector<std::string>& more) {
        auto options = with_options("pretrain", {{"--window", "96"}, {"--steps", "20"}, {"--name", "tiny"}}, more);
        options.erase(options.begin());
        return pretrain_arguments(train, file, options);
    };
    const json plain = tool_json(with(whole, {}));
    const json parted = tool_json(with(whole, {"--parted", "0.5", "--force"}));
    CHECK(parted["loss"] != plain["loss"]);
    CHECK(parted["parameters"] == plain["parameters"]);
    REQUIRE(tool(with(out, {"--parted", "0.5", "--checkpoint", out + ".kept"})).status == 0);
    CHECK(read_file(out) == read_file(whole));
    check_refused_at_last(1, "is of another run: its parted is 0.5, but now it is 0.25",
                          with(out, {"--parted", "0.25", "--checkpoint", out + ".kept", "--force"}));
    check_refused_at_last(2, "--parted", with(out, {"--parted", "1.5", "--force"}));
    check_refused_at_last(1, "sequences of 8 tokens are parted, expected at least the 10",
                          with(out, {"--parted", "0.5", "--window", "8", "--force"}));
}

TEST_CASE("pretrain: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "out.gguf").string();
    const std::string train = folder.write("train.jsonl", documents_to_learn(20));
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "5"});
        return pretrain_arguments(train, out, more);
    };
    check_refused_at_last(2, "--steps is required", pretrain_arguments(train, out));
    check_refused_at_last(1, "loss of", with({"--lr", "1e30", "--clip", "0", "--decay", "constant", "--warmup-ratio", "0"}));
    check_refused_at_last(1, "empty.txt' holds no text, expected some to train on",
                          with({"--train", folder.write("empty.txt", " \n\f\n")}));
    check_refused_at_last(1, "expected at least one window of 32",
                          pretrain_arguments(folder.write("short.txt", "A text."), out, {"--steps", "5"}));
    check_refused_at_last(1, "line 1 is no JSON", with({"--train", folder.write("bad.jsonl", "{\"text\"")}));
    check_refused_at_last(1, "the document has no \"text\"",
                          with({"--train", folder.write("none.jsonl", "{\"title\": \"a\"}")}));
    check_refused_at_last(1, "holds no text, expected some to validate with", with({"--valid", folder.write("empty.txt", "")}));
    check_refused_at_last(1, "expected --width to be a multiple of 2 x --heads", with({"--heads", "5"}));
    check_refused_at_last(1, "--kv-heads is 3, expected a divisor of the 2 heads", with({"--kv-heads", "3"}));
    check_refused_at_last(1, "there is no folder", with({"--checkpoint", "/nowhere/run.ckpt"}));
    check_refused_at_last(2, "--checkpoint-every: found 0s", with({"--checkpoint", "c", "--checkpoint-every", "0s"}));
    check_refused_at_last(2, "--valid-every requires --valid", with({"--valid-every", "2"}));
    check_refused_at_last(2, "--valid-window requires --valid", with({"--valid-window", "9"}));
    check_refused_at_last(2, "--out and --log are both", with({"--log", out}));
    check_refused_at_last(1, "exists already; --force replaces it",
                          pretrain_arguments(train, folder.write("old.gguf", "old"), {"--steps", "5"}));
    CHECK_FALSE(std::filesystem::exists(out));
}

// What is read is never written over, whatever its name; and what is written appears whole or not at all.
#include "cli/training.hpp"

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

using namespace flashback_test;

namespace {

/// Every file below a folder, and what is in it.
std::map<std::string, std::string> contents(const TemporaryFolder& folder) {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{folder.path()}) {
        const std::string name = entry.path().lexically_relative(folder.path()).string();
        all[name] = entry.is_regular_file() ? read_file(entry.path()) : "";
    }
    return all;
}

/// Runs the tool where no file may have more bytes; what it says, on both streams, and its status. A full disk fails as this does, but
/// not for everybody who runs tests.
Result with_little_room(std::uint64_t bytes, const std::vector<std::string>& arguments) {
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    ::rlimit little = before;
    little.rlim_cur = bytes;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &little) == 0);
    Result result =
        shell("{ { " + command_line(arguments) + "; } 2>&1; printf 'status %d' $?; } | { ulimit -S -f unlimited; cat; }");
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    const std::size_t at = result.out.rfind("status ");
    REQUIRE(at != std::string::npos);
    return {std::stoi(result.out.substr(at + 7)), "", result.out.substr(0, at)};
}

void check_says(const Result& result, const std::string& words) {
    CHECK(doctest::String{result.err.c_str()} == doctest::Contains(words.c_str()));
}

std::vector<std::string> joined(std::vector<std::string> all, const std::vector<std::string>& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

}  // namespace

TEST_CASE("a file that a command reads is not one that it writes, by whichever option, and stays what it was") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string model = folder.write("m.gguf", read_file(FLASHBACK_TEST_MODEL));
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string other = folder.write("other.jsonl", documents_to_learn(9));
    folder.write("docs/deep/a.md", "A kernel.\n");
    folder.write("hf/config.json", "{}");
    folder.write("hf/model.safetensors", "weights");
    folder.write("adapter/adapter_config.json", "{}");
    folder.write("adapter/adapter_model.safetensors", "numbers");
    folder.write("run.part0", documents_to_learn(9));
    folder.write("out.gguf.checkpoint.lock", documents_to_learn(9));
    const auto before = contents(folder);

    const auto pretrain = [&](const std::string& out, const std::vector<std::string>& more) {
        return joined(pretrain_arguments(texts, out, more), {"--steps", "2", "--force"});
    };
    const auto finetune = [&](const std::string& out, const std::vector<std::string>& more) {
        return joined(finetune_arguments(model, texts, out, more), {"--steps", "2", "--force"});
    };
    const std::vector<std::string> ppl{"ppl", "--text", texts, "--layout", "none", "--log"};
    struct Case {
        std::string output;
        std::string option;
        std::string reader;
        std::vector<std::string> arguments;
    };
    const std::vector<Case> cases{
        {model, "--log", "--tokenizer", pretrain(path("out.gguf"), {"--tokenizer", model, "--log", model})},
        {texts, "--log", "--train", pretrain(path("out.gguf"), {"--log", texts})},
        {other, "--log", "--valid", pretrain(path("out.gguf"), {"--valid", other, "--log", other})},
        {model, "--out", "--tokenizer", pretrain(model, {"--tokenizer", model})},
        {texts, "--out", "--train", pretrain(texts, {})},
        {texts, "--checkpoint", "--train", pretrain(path("out.gguf"), {"--checkpoint", texts})},
        {path("run.part0"), "--checkpoint", "--train",
         pretrain(path("out.gguf"), {"--train", path("run.part0"), "--checkpoint", path("run")})},
        {path("out.gguf.checkpoint.lock"), "--checkpoint", "--train",
         pretrain(path("out.gguf"), {"--train", path("out.gguf.checkpoint.lock")})},
        {model, "--log", "--model", finetune(path("out"), {"--log", model})},
        {other, "--log", "--corpus", finetune(path("out"), {"--corpus", other, "--log", other})},
        {other, "--examples-cache", "--valid", finetune(path("out"), {"--valid", other, "--examples-cache", other})},
        {texts,
         "--out",
         "--train",
         {"finetune", "--all-params", "--model", model, "--train", texts, "--corpus", texts, "--out", texts, "--force"}},
        {path("adapter/adapter_config.json"), "--out", "--adapter", finetune(path("adapter"), {"--adapter", path("adapter")})},
        {path("adapter/adapter_model.safetensors"), "--log", "--adapter",
         finetune(path("out"), {"--adapter", path("adapter"), "--log", path("adapter/adapter_model.safetensors")})},
        {model, "--csv", "--model", {"bench", "--model", model, "--csv", model, "--m", "4", "--peak-memory", "1"}},
        {other, "--run", "--queries", {"search", "--corpus", texts, "--queries", other, "--run", other}},
        {texts, "--run", "--corpus", {"search", "--corpus", texts, "--queries", other, "--run", texts}},
        {model, "--run", "--model", {"search", "--corpus", texts, "--queries", other, "--model", model, "--run", model}},
        {path("docs/deep/a.md"),
         "--run",
         "--corpus",
         {"search", "--corpus", path("docs"), "--queries", other, "--run", path("docs/deep/a.md")}},
        {texts, "--log", "--text", joined(ppl, {texts})},
        {model, "--log", "--model", joined(ppl, {model, "--model", model})},
        {path("hf/model.safetensors"),
         "argument out",
         "argument in",
         {"convert", path("hf"), path("hf/model.safetensors"), "--force"}},
        {path("adapter/adapter_model.safetensors"),
         "argument out",
         "--adapter",
         {"convert", model, path("adapter/adapter_model.safetensors"), "--adapter", path("adapter"), "--force"}},
        {model, "argument out", "--model", {"convert-adapter", path("adapter"), model, "--model", model, "--force"}},
        {path("adapter"), "argument out", "argument in", {"convert-adapter", path("adapter"), path("adapter"), "--force"}},
        {model, "argument out", "argument in", {"quantize", model, model, "--dtype", "q8_0", "--force"}},
    };
    for (const Case& c : cases) {
        const std::string shown = command_line(c.arguments);
        CAPTURE(shown);
        refused(1, "'" + c.output + "' (" + c.option + ") is what " + c.reader + " reads, expected another file to write",
                c.arguments);
        CHECK(contents(folder) == before);
    }
    const Result piped = shell(command_line({"ppl", "--text", "-", "--layout", "none", "--log", texts}) + " <" + quoted(texts));
    check_refused(piped, 1, "(--log) is what --text reads");
    CHECK(contents(folder) == before);
}

TEST_CASE("a file is the same by every name: links of both kinds, and other spellings") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string queries = folder.write("queries.jsonl", documents_to_learn(3));
    const std::string corpus = write_corpus(folder);
    folder.write("hub/blob", "weights");
    std::filesystem::create_directory(path("hf"));
    std::filesystem::create_symlink("../hub/blob", path("hf/model.safetensors"));
    std::filesystem::create_symlink("queries.jsonl", path("soft"));
    std::filesystem::create_hard_link(queries, path("hard"));
    std::filesystem::create_directory_symlink(".", path("here"));
    const auto before = contents(folder);
    for (const char* name : {"soft", "hard", "./queries.jsonl", "here/queries.jsonl", "hf/../queries.jsonl"}) {
        CAPTURE(name);
        refused(1, "(--run) is what --queries reads",
                {"search", "--corpus", corpus, "--queries", queries, "--run", folder.path().string() + "/" + name});
        CHECK(contents(folder) == before);
    }
    refused(1, "(argument out) is what argument in reads", {"convert", path("hf"), path("hub/blob"), "--force"});
    CHECK(contents(folder) == before);

    // Of two files to write likewise, also where none is there yet.
    const auto both = [&](const std::string& words, const std::vector<std::string>& more) {
        refused(2, words, joined(finetune_arguments(FLASHBACK_TEST_MODEL, corpus, path("out"), more), {"--steps", "2"}));
    };
    std::filesystem::create_hard_link(folder.write("log.csv", "old"), path("linked.csv"));
    both("--examples-cache and --log are both '" + path("linked.csv"),
         {"--examples-cache", path("log.csv"), "--log", path("linked.csv")});
    both("--out and --log are both", {"--log", path("here/out/adapter_config.json")});
    both("--log and --checkpoint are both", {"--log", path("ckpt.lock"), "--checkpoint", path("ckpt")});
    CHECK(read_file(path("log.csv")) == "old");
}

TEST_CASE("a command that fails leaves what was there: no half of a run, no emptied file") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string corpus = write_corpus(folder);
    const std::string queries =
        folder.write("queries.jsonl", "{\"_id\":\"good\",\"text\":\"system\"}\n{\"_id\":\"not good\",\"text\":\"system\"}\n");
    folder.write("run.trec", "an old run");
    folder.write("res.csv", "old results");
    const auto before = contents(folder);
    refused(1, "cannot hold the id 'not good'",
            {"search", "--corpus", corpus, "--queries", queries, "--run", path("run.trec")});
    CHECK(contents(folder) == before);
    refused(1, "cannot hold the id 'not good'",
            {"search", "--corpus", corpus, "--queries", queries, "--run", path("new.trec")});
    CHECK(contents(folder) == before);
    refused(1, "missing.gguf': No such file", {"bench", "--model", "missing.gguf", "--csv", path("res.csv")});
    CHECK(contents(folder) == before);
}

TEST_CASE("a link to nothing, a name that is empty, and a file that is protected are found before any work is done") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    std::filesystem::create_symlink("nowhere/target", path("dangling"));
    const auto before = contents(folder);
    const auto finetune = [&](const std::string& out, const std::vector<std::string>& more) {
        return joined(finetune_arguments(FLASHBACK_TEST_MODEL, texts, out, more), {"--steps", "2"});
    };
    const std::string words = "is a symbolic link to 'nowhere/target', which is not there";
    refused(1, words, joined(pretrain_arguments(texts, path("dangling")), {"--steps", "2"}));
    refused(1, words, finetune(path("dangling"), {}));
    refused(1, words, finetune(path("dangling/deep/adapter"), {}));
    refused(1, words, finetune(path("out"), {"--log", path("dangling")}));
    refused(1, words, finetune(path("out"), {"--checkpoint", path("dangling")}));
    refused(1, words, {"bench", "--csv", path("dangling")});
    refused(2, "--out: found no name", joined(pretrain_arguments(texts, ""), {"--steps", "2"}));
    refused(2, "--out: found no name", finetune("", {}));
    CHECK(contents(folder) == before);
    CHECK(std::filesystem::is_symlink(path("dangling")));

    std::filesystem::permissions(folder.write("protected.csv", "old"), std::filesystem::perms::owner_read);
    if (::access(path("protected.csv").c_str(), W_OK) != 0)  // root may write all
        refused(1, "protected.csv': Permission denied", finetune(path("out"), {"--log", path("protected.csv")}));
}

TEST_CASE("where there is no room nothing is left, what was there stays, and the reason is told") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string corpus = write_corpus(folder);
    const std::string queries = folder.write("queries.jsonl", "{\"_id\":\"q\",\"text\":\"system\"}\n");
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string model = tiny_model(folder);
    const auto finetune = [&](const std::string& out, const std::vector<std::string>& more) {
        return joined(finetune_arguments(model, texts, out, more), {"--steps", "2"});
    };
    for (const bool old : {false, true}) {
        CAPTURE(old);
        if (old) {
            for (const char* name : {"run.trec", "res.csv", "log.csv", "strides.csv"}) folder.write(name, "as before");
        }
        const auto before = contents(folder);
        const auto fails = [&](std::uint64_t room, const std::string& file, const std::vector<std::string>& arguments) {
            const Result result = with_little_room(room, arguments);
            CAPTURE(result.err);
            CHECK(result.status == 1);
            check_says(result, "cannot write '" + file + "': File too large\n");
            CHECK(contents(folder) == before);
            return result;
        };
        fails(20, path("run.trec"), {"search", "--corpus", corpus, "--queries", queries, "--run", path("run.trec")});
        const Result measured =
            fails(20, path("res.csv"),
                  {"bench", "--mode", "machine", "--peak-memory", "1", "--repetitions", "1", "--csv", path("res.csv")});
        check_says(measured, "Gop/s");  // what took minutes is not lost
        fails(40, path("log.csv"), finetune(path("out"), {"--log", path("log.csv")}));
        fails(40, path("deep/adapter/adapter_config.json"), finetune(path("deep/adapter"), {"--checkpoint", "none"}));
        fails(1000, path("x.gguf"), {"quantize", model, path("x.gguf"), "--dtype", "q8_0"});
        const Result ppl = fails(40, path("strides.csv"),
                                 {"ppl", "--model", model, "--text", texts, "--layout", "none", "--passage-tokens", "16",
                                  "--stride", "8", "--strides", "4", "--log", path("strides.csv")});
        check_says(ppl, "nats per token");
    }
    const Result row = with_little_room(80, finetune(path("out"), {"--log", path("rows.csv"), "--checkpoint", "none"}));
    CHECK(row.status == 1);
    check_says(row, "cannot write the log '" + path("rows.csv") + "': File too large");
    CHECK(read_file(path("rows.csv")) == "step,loss,gradient_norm,learning_rate,tokens,seconds,valid_nats\n");

    for (const char* text : {"a kernel", "all of them"}) {
        std::string long_text;  // does not fit into a buffer
        for (int i = 0; i < (text[1] == ' ' ? 1 : 20000); ++i) long_text += text;
        const Result out = shell(command_line({"tokenize", "--text-file", folder.write("text", long_text)}) + " >/dev/full");
        check_refused(out, 1, "cannot write to standard output: No space left on device");
    }
}

TEST_CASE("a checkpoint that does not fit costs neither the run nor what it trains") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string model = tiny_model(folder);
    const auto finetune = [&](const std::string& out, const std::vector<std::string>& more) {
        return joined(finetune_arguments(model, texts, path(out), more), {"--steps", "4"});
    };
    REQUIRE(tool(finetune("whole", {"--checkpoint", path("whole.ckpt")})).status == 0);
    const auto numbers_of = [&](const std::string& name) { return read_file(path(name + "/adapter_model.safetensors")); };
    const std::size_t room = numbers_of("whole").size() + 500;
    REQUIRE(std::filesystem::file_size(path("whole.ckpt")) > room);

    const Result passing = with_little_room(room, finetune("passing", {"--checkpoint-every", "1"}));
    CHECK(passing.status == 0);
    check_says(passing, "passing.checkpoint': File too large; the run goes on without\n");
    CHECK(passing.err.find("File too large") == passing.err.rfind("File too large"));  // once, not for each step
    CHECK((numbers_of("passing") == numbers_of("whole")));
    CHECK_FALSE(std::filesystem::exists(path("passing.checkpoint")));
    CHECK_FALSE(std::filesystem::exists(path("passing.checkpoint.part0")));
    CHECK_FALSE(std::filesystem::exists(path("passing.checkpoint.lock")));

    const std::string kept = read_file(path("whole.ckpt"));
    auto more = finetune("again", {"--checkpoint", path("whole.ckpt"), "--checkpoint-every", "1"});
    const Result named = with_little_room(room, more);  // the steps are done; the file stays what it was
    CHECK(named.status == 0);
    CHECK((read_file(path("whole.ckpt")) == kept));
    CHECK((numbers_of("again") == numbers_of("whole")));
}

TEST_CASE("what killed runs left of a file is named and stays, of a checkpoint it goes") {
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string model = folder.write("m.gguf", read_file(FLASHBACK_TEST_MODEL));
    for (const char* name : {"out.gguf.part0", "out.gguf.part12", "out.gguf.part", "out.gguf.partial", "out.gguf.part1x"})
        folder.write(name, "half");
    const Result result = tool({"quantize", model, path("out.gguf"), "--dtype", "q8_0"});
    CHECK(result.status == 0);
    for (const char* name : {"out.gguf.part0", "out.gguf.part12"}) {
        check_says(result, "flashback: '" + path(name) + "' was left by a killed run that wrote '" + path("out.gguf") +
                               "', unless a run is writing it now; remove it if none is\n");
        CHECK(read_file(path(name)) == "half");
    }
    for (const char* name : {"out.gguf.part'", "out.gguf.partial'", "out.gguf.part1x'"})
        CHECK(result.err.find(name) == std::string::npos);
    // One that is read is no leftover.
    const Result part =
        tool({"quantize", folder.write("new.gguf.part0", read_file(model)), path("new.gguf"), "--dtype", "q8_0"});
    CHECK(part.status == 0);
    CHECK(part.err.find("killed run") == std::string::npos);

    const std::string texts = folder.write("texts.jsonl", documents_to_learn(60));
    folder.write("ckpt.part3", "half");
    const Result trained =
        tool(joined(pretrain_arguments(texts, path("tiny.gguf")), {"--steps", "2", "--checkpoint", path("ckpt")}));
    CHECK(trained.status == 0);
    CHECK(trained.err.find("killed run") == std::string::npos);
    CHECK_FALSE(std::filesystem::exists(path("ckpt.part3")));
}

TEST_CASE("a run ends after a step and keeps its state when its terminal is closed or nobody reads what it says") {
    std::signal(SIGHUP, SIG_DFL);  // what this program ignores, its children would
    std::signal(SIGPIPE, SIG_DFL);
    const TemporaryFolder folder;
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const std::string texts = folder.write("texts.jsonl", documents_to_learn(60));
    const std::vector<std::string> options{"--steps", "150", "--name", "tiny"};
    REQUIRE(tool(pretrain_arguments(texts, path("whole.gguf"), options)).status == 0);
    for (const std::string signal : {"HUP", "PIPE", "TERM"}) {
        CAPTURE(signal);
        const std::string out = path(signal + ".gguf");
        const std::string log = path(signal + ".csv");
        const auto all = pretrain_arguments(texts, out, joined(options, {"--log", log}));
        const Result ended = signalled(signal, 9, log, all);
        CHECK(ended.status == 1);
        check_says(ended, "the same command goes on from there");
        CHECK(std::filesystem::exists(out + ".checkpoint"));
        CHECK(tool_json(all)["resumed_from"].get<int>() >= 8);
        CHECK((read_file(out) == read_file(path("whole.gguf"))));
    }
    // As nohup does it.
    const std::string log = path("nohup.csv");
    const auto all = pretrain_arguments(texts, path("nohup.gguf"), joined(options, {"--log", log}));
    const Result through = signalled("HUP", 9, log, all, "trap '' HUP; ");
    CHECK(through.status == 0);
    CHECK((read_file(path("nohup.gguf")) == read_file(path("whole.gguf"))));
}

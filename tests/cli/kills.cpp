// Killed twenty times at random moments, in startup, in steps and while a checkpoint is written, and started again each time, a
// run gives bit for bit what the run gives that was never interrupted.
#include "cli/training.hpp"
#include "flashback/core/random.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flashback_test;

namespace {

using Clock = std::chrono::steady_clock;

/// A run of the tool that can be killed.
class Process {
public:
    explicit Process(const std::vector<std::string>& arguments) : id_(::fork()) {
        REQUIRE(id_ >= 0);
        if (id_ > 0) return;
        const int nowhere = ::open("/dev/null", O_RDWR);
        for (const int stream : {0, 1, 2}) ::dup2(nowhere, stream);
        std::string program = FLASHBACK_TOOL;
        std::vector<std::string> texts = arguments;
        std::vector<char*> all{program.data()};
        for (std::string& text : texts) all.push_back(text.data());
        all.push_back(nullptr);
        ::execv(program.c_str(), all.data());
        ::_exit(127);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process() {
        if (id_ > 0) kill();
    }

    /// Whether it was killed by this, and had not ended before.
    bool kill() {
        ::kill(id_, SIGKILL);
        int status = 0;
        ::waitpid(id_, &status, 0);
        id_ = -1;
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }

private:
    ::pid_t id_;
};

bool wait_until(const std::function<bool()>& condition) {
    const auto end = Clock::now() + std::chrono::minutes{2};
    while (!condition()) {
        if (Clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::microseconds{50});
    }
    return true;
}

std::size_t rows_of(const std::string& log) { return static_cast<std::size_t>(std::ranges::count(read_file(log), '\n')); }

/// Kills runs of `arguments`, of 20 of which 10 while they write the checkpoint if that is seen in time.
void kill_twenty(const std::vector<std::string>& arguments, const std::string& checkpoint, const std::string& log) {
    flashback::SplitMix64 random{17};
    int while_writing = 0;
    for (int number = 0; number < 20; ++number) {
        CAPTURE(number);
        const std::string part = checkpoint + ".part0";
        const std::size_t rows = rows_of(log);
        Process process{arguments};
        // However fast the machine is, a run does a few steps only and does not come to its end.
        const auto wait_a_while = [&](std::uint64_t microseconds) {
            const auto end = Clock::now() + std::chrono::microseconds{microseconds};
            return wait_until([&] { return Clock::now() >= end || rows_of(log) >= rows + 8; });
        };
        if (number % 5 == 4) {  // somewhere in its beginning: reading, searching, the first steps
            REQUIRE(wait_a_while(random.below(60000)));
        } else {  // some steps later; a run that goes on takes rows behind the checkpoint away first
            const std::size_t enough = std::max<std::size_t>(rows, 2) + random.below(4);
            REQUIRE(wait_until([&] { return rows_of(log) >= enough; }));
            if (number % 2 == 0) {
                REQUIRE(wait_until([&] { return std::filesystem::exists(part); }));
                std::this_thread::sleep_for(std::chrono::microseconds{random.below(400)});
            } else {
                REQUIRE(wait_a_while(random.below(20000)));
            }
        }
        REQUIRE(process.kill());
        while_writing += std::filesystem::exists(part) ? 1 : 0;
    }
    MESSAGE(while_writing, " of 20 were killed while a checkpoint was written");
    CHECK(while_writing >= 3);
}

}  // namespace

TEST_CASE("finetune: killed twenty times, it writes the files of a run that was never interrupted") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const std::string model = tiny_model(folder);
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string valid = folder.write("valid.jsonl", documents_to_retrieve(9));
    std::vector<std::string> all;
    for (const char* sharing : {"--no-share-history", "--share-history"}) {
        CAPTURE(sharing);
        const std::vector<std::string> options{sharing, "--batch",         "6", "--steps",       "300", "--force", "--valid",
                                               valid,   "--valid-strides", "4", "--valid-every", "10"};
        auto whole = options;
        whole.insert(whole.end(), {"--log", path("whole.csv")});
        const auto expected = tool_json(finetune_arguments(model, texts, path("whole"), whole));
        CHECK(expected["strides_of_text"] == (expected["share_history"].get<bool>() ? 2 : 1));

        auto parts = options;
        const std::string out = path("parts") + sharing;
        parts.insert(parts.end(), {"--log", out + ".csv", "--checkpoint", out + ".ckpt", "--checkpoint-every", "1",
                                   "--examples-cache", out + ".examples"});
        all = finetune_arguments(model, texts, out, parts);
        kill_twenty(all, out + ".ckpt", out + ".csv");
        CHECK_FALSE(std::filesystem::exists(out));
        const auto found = tool_json(all);
        CHECK(found["resumed_from"].get<int>() > 10);
        CHECK(found["resumed_from"].get<int>() < 300);
        for (const char* file : {"/adapter_config.json", "/adapter_model.safetensors"}) {
            CAPTURE(file);
            CHECK((read_file(out + file) == read_file(path("whole") + file)));
        }
        CHECK(without_seconds(read_file(out + ".csv")) == without_seconds(read_file(path("whole.csv"))));
        CHECK(found["valid"] == expected["valid"]);
        CHECK(found["loss"] == expected["loss"]);
        CHECK_FALSE(std::filesystem::exists(out + ".ckpt.part0"));
    }

    auto other = all;
    other.insert(other.end(), {"--alpha", "16"});
    check_refused_at_last(1, "is of another run: its alpha is 32, but now it is 16", other);
}

TEST_CASE("pretrain: killed twenty times, it writes the file of a run that was never interrupted") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const std::string train = folder.write("train.jsonl", documents_to_learn(100));
    const std::vector<std::string> options{"--steps", "300", "--name", "tiny"};
    auto whole = options;
    whole.insert(whole.end(), {"--log", path("whole.csv")});
    REQUIRE(tool(pretrain_arguments(train, path("whole.gguf"), whole)).status == 0);
    auto parts = options;
    parts.insert(parts.end(), {"--log", path("parts.csv"), "--checkpoint", path("ckpt"), "--checkpoint-every", "1"});
    const auto all = pretrain_arguments(train, path("parts.gguf"), parts);
    kill_twenty(all, path("ckpt"), path("parts.csv"));
    CHECK_FALSE(std::filesystem::exists(path("parts.gguf")));
    const auto found = tool_json(all);
    CHECK(found["resumed_from"].get<int>() > 10);
    CHECK(found["resumed_from"].get<int>() < 300);
    CHECK((read_file(path("parts.gguf")) == read_file(path("whole.gguf"))));
    CHECK(without_seconds(read_file(path("parts.csv"))) == without_seconds(read_file(path("whole.csv"))));
}

TEST_CASE("index --out: killed thirty times, it leaves what was committed, and goes on from there") {
    const TemporaryFolder folder;
    const std::string index = (folder.path() / "index").string();
    std::string few, many;
    for (int d = 0; d < 4000; ++d) {
        const std::string line =
            "{\"_id\":\"" + std::to_string(d) + "\",\"text\":\"all of number" + std::to_string(d) + "\"}\n";
        if (d < 100) few += line;
        many += line;
    }
    REQUIRE(tool({"index", folder.write("few.jsonl", few), "--out", index, "--whole"}).status == 0);
    const std::vector<std::string> all{"index",  folder.write("many.jsonl", many), "--out", index, "--whole", "--replace",
                                       "--merge"};
    const auto start = Clock::now();
    REQUIRE(tool({"index", folder.write("other.jsonl", many), "--out", (folder.path() / "other").string(), "--whole"}).status ==
            0);
    std::chrono::duration<double> whole = Clock::now() - start;
    flashback::SplitMix64 random{21};
    int killed = 0;
    for (int i = 0; i < 30; ++i) {
        Process process{all};
        std::this_thread::sleep_for(whole * random.uniform());
        if (process.kill()) {
            ++killed;
        } else {  // the machine is faster than it was: the next run gets less time
            whole *= 0.8;
        }
        const auto found = tool_json({"search", "--corpus", index, "--whole", "--query", "all", "--top-k", "1"});
        CHECK((found["documents"] == 100 || found["documents"] == 4000));
        CHECK(found["hits"].size() == 1);
    }
    MESSAGE(killed, " of 30 were killed before they ended");
    CHECK(killed >= 10);
    CHECK(tool_json(all)["documents"] == 4000);
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{index}) ++files;
    CHECK(files == 3);  // what killed writers left behind is gone
}

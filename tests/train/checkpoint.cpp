// A checkpoint gives a run back to the bit, or says in words why it does not; a kill at any moment leaves a whole one.
#include "flashback/train/checkpoint.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"
#include "train/helpers.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

const RunDescription run{{"lr", "0.01"}, {"data", "00ff"}};

TrainingTargets lora_and_markers() {
    TrainingTargets targets;
    targets.lora = {.modules = {LinearModule::k, LinearModule::down}, .rank = 3, .alpha = 6, .dropout = 0.2f};
    targets.markers = {5, 30};
    return targets;
}

struct Setting {
    TrainingTargets targets;
    std::shared_ptr<const Transformer> model = odd_model(true);

    std::unique_ptr<Trainer> trainer() const {
        return std::make_unique<Trainer>(model, targets,
                                         TrainerOptions{.learning_rate = {.peak = 0.01f, .steps = 8}, .seed = 7});
    }
};

/// A step whose batch depends on its number.
double step(Trainer& trainer) {
    const std::uint64_t number = trainer.state().steps;
    std::vector<TrainingExample> batch;
    for (std::uint64_t i = 0; i < 3; ++i) batch.push_back(random_example(12, 37, 100 * number + i, 2));
    return trainer.step(batch).loss;
}

struct Snapshot {
    explicit Snapshot(Trainer& trainer) : steps(trainer.state().steps) {
        const TrainerState state = trainer.state();
        for (const auto array : {state.parameters, state.first_moments, state.second_moments})
            numbers.insert(numbers.end(), array.begin(), array.end());
    }
    bool operator==(const Snapshot& other) const { return steps == other.steps && same_bits(numbers, other.numbers); }

    std::uint64_t steps;
    std::vector<float> numbers;
};

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::set<std::string> names_in(const std::filesystem::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator{folder}) names.insert(entry.path().filename().string());
    return names;
}

}  // namespace

TEST_CASE("A run that is read back goes on as the one that was never interrupted") {
    for (const TrainingTargets& targets : {TrainingTargets{.all = true}, lora_and_markers()}) {
        CAPTURE(targets.all);
        const Setting setting{targets};
        const TemporaryFolder folder;
        const auto path = folder.path() / "run.ckpt";
        const auto whole = setting.trainer();
        std::vector<double> losses;
        for (int i = 0; i < 6; ++i) losses.push_back(step(*whole));

        for (std::size_t part = 0; part < 3; ++part) {  // three processes of two steps, as it were
            const auto trainer = setting.trainer();
            CheckpointFile checkpoint{path, run};
            const auto note = checkpoint.read(*trainer);
            CHECK(note.has_value() == (part > 0));
            CHECK(note.value_or("") == (part > 0 ? "a note: \xc3\xa4" : ""));
            REQUIRE(trainer->state().steps == 2 * part);
            for (std::size_t i = 0; i < 2; ++i) CHECK(step(*trainer) == losses[2 * part + i]);
            checkpoint.write(*trainer, "a note: \xc3\xa4");
            if (part == 2) CHECK(Snapshot{*trainer} == Snapshot{*whole});
        }
        CHECK(names_in(folder.path()) == std::set<std::string>{"run.ckpt", "run.ckpt.lock"});
    }
}

TEST_CASE("A checkpoint of another run is refused by the first thing that differs, and changes nothing") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    const Setting setting{lora_and_markers()};
    const auto trainer = setting.trainer();
    step(*trainer);
    CheckpointFile{path, run}.write(*trainer);
    const auto refused = [&](const Setting& other, const RunDescription& description, const char* words) {
        const auto second = other.trainer();
        step(*second);
        step(*second);
        const Snapshot before{*second};
        CheckpointFile checkpoint{path, description};
        check_error(ErrorCode::contract, words, [&] { static_cast<void>(checkpoint.read(*second)); });
        CHECK(Snapshot{*second} == before);
    };
    refused(setting, {{"lr", "0.02"}, {"data", "00ff"}}, "is of another run: its lr is 0.01, but now it is 0.02");
    refused(setting, {{"lr", "0.01"}}, "its data is 00ff, but now it is absent");
    refused(setting, {{"lr", "0.01"}, {"data", "00ff"}, {"seed", "1"}}, "its seed is absent, but now it is 1");
    refused({TrainingTargets{.all = true}}, run, "it has no tensor token_embd.weight of 37 x 20 floats");
    Setting rank = setting;
    rank.targets.lora.rank = 4;
    refused(rank, run, "it has no tensor blk.0.attn_k.lora_a of 4 x 20 floats");
    Setting markers = setting;
    markers.targets.markers = {5, 30, 31};
    refused(markers, run, "it has no tensor markers of 3 x 20 floats");
    // The order of a description means nothing.
    const auto same = setting.trainer();
    CHECK(CheckpointFile{path, {{"data", "00ff"}, {"lr", "0.01"}}}.read(*same).has_value());
    CHECK(Snapshot{*same} == Snapshot{*trainer});
}

TEST_CASE("No flipped bit and no cut gives another run than the one that was written") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    TrainingTargets targets;
    targets.markers = {5, 30};
    const Setting setting{targets};
    const auto trainer = setting.trainer();
    step(*trainer);
    step(*trainer);
    CheckpointFile checkpoint{path, run};
    checkpoint.write(*trainer, "note");
    const std::string good = bytes_in(path);
    REQUIRE(good.size() < 4000);
    const Snapshot expected{*trainer};
    const auto reader = setting.trainer();
    const Snapshot untouched{*reader};
    std::size_t refusals = 0;
    std::size_t padding = 0;
    const auto try_bytes = [&](const std::string& bytes) {
        std::ofstream{path, std::ios::binary} << bytes;
        const auto second = setting.trainer();
        try {
            const auto note = checkpoint.read(*second);
            ++padding;  // bytes that nobody reads
            return note == "note" && Snapshot{*second} == expected;
        } catch (const Error& error) {
            ++refusals;
            return error.code() != ErrorCode::io && Snapshot{*second} == untouched;
        }
    };
    for (std::size_t at = 0; at < good.size(); ++at) {
        std::string bytes = good;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
        CHECK_MESSAGE(try_bytes(bytes), "bit ", at % 8, " of byte ", at);
    }
    CHECK(padding < good.size() / 8);
    for (std::size_t size = 0; size < good.size(); size += 3) CHECK_MESSAGE(try_bytes(good.substr(0, size)), "cut at ", size);
    CHECK(refusals > good.size());
    std::ofstream{path, std::ios::binary} << good;
    CHECK(checkpoint.read(*reader) == "note");

    std::ofstream{path, std::ios::binary} << "text that is longer than the head of a file of GGUF";
    check_error(ErrorCode::format, "run.ckpt'", [&] { static_cast<void>(checkpoint.read(*reader)); });
    std::filesystem::copy_file(FLASHBACK_TEST_MODEL, path, std::filesystem::copy_options::overwrite_existing);
    check_error(ErrorCode::format, "run.ckpt' is no checkpoint, but another GGUF file",
                [&] { static_cast<void>(checkpoint.read(*reader)); });
}

TEST_CASE("One run has the checkpoint at a time, and clears away only what a killed one left") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    for (const char* name : {"run.ckpt.part0", "run.ckpt.part12", "run.ckpt.part", "run.ckpt.partial", "run.ckpt.part1x",
                             "run.ckpt2.part0", "other.part0"})
        folder.write(name, "x");
    {
        const CheckpointFile first{path, run};
        CHECK(names_in(folder.path()) == std::set<std::string>{"run.ckpt.lock", "run.ckpt.part", "run.ckpt.partial",
                                                               "run.ckpt.part1x", "run.ckpt2.part0", "other.part0"});
        folder.write("run.ckpt.part0", "being written");
        check_error(ErrorCode::io, "run.ckpt' belongs to another run, which has not ended", [&] {
            static_cast<void>(CheckpointFile{path, run});
        });
        CHECK(std::filesystem::exists(folder.path() / "run.ckpt.part0"));
        static_cast<void>(CheckpointFile{folder.path() / "second.ckpt", run});
    }
    const CheckpointFile again{path, run};
    CHECK(again.path() == path);
    check_error(ErrorCode::io, "nowhere/run.ckpt.lock': No such file", [&] {
        static_cast<void>(CheckpointFile{folder.path() / "nowhere" / "run.ckpt", run});
    });
}

TEST_CASE("A checkpoint that cannot be written leaves the one before it") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    const Setting setting{TrainingTargets{.all = true}};
    const auto trainer = setting.trainer();
    CheckpointFile checkpoint{path, run};
    checkpoint.write(*trainer, "first");
    const std::string before = bytes_in(path);
    step(*trainer);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // a full disk, as a process can have it for itself
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const rlimit small{8192, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    check_error(ErrorCode::io, "run.ckpt': File too large", [&] { checkpoint.write(*trainer, "second"); });
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    REQUIRE((std::signal(SIGXFSZ, handler) != SIG_ERR));
    CHECK((bytes_in(path) == before));
    CHECK(names_in(folder.path()) == std::set<std::string>{"run.ckpt", "run.ckpt.lock"});
}

TEST_CASE("Killed while it writes, a run leaves the whole checkpoint that it had, and no lock") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    const Setting setting{TrainingTargets{.all = true},
                          random_model({.layers = 1, .width = 64, .heads = 4, .kv_heads = 4, .head_dim = 16, .vocab = 2000})};
    const auto fill = [](Trainer& trainer, std::uint64_t number) {
        const TrainerState state = trainer.state();
        state.steps = number;
        for (const auto array : {state.parameters, state.first_moments, state.second_moments})
            std::fill(array.begin(), array.end(), static_cast<float>(number));
    };
    SplitMix64 random{3};
    std::size_t while_writing = 0;
    std::uint64_t newest = 0;
    for (int kill = 0; kill < 12; ++kill) {
        const ::pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                const auto trainer = setting.trainer();
                CheckpointFile checkpoint{path, run};
                static_cast<void>(checkpoint.read(*trainer));
                for (std::uint64_t number = trainer->state().steps + 1;; ++number) {
                    fill(*trainer, number);
                    checkpoint.write(*trainer, std::to_string(number));
                }
            } catch (...) {
                std::_Exit(1);
            }
        }
        const auto part = folder.path() / "run.ckpt.part0";
        const auto wait_for = [](const std::filesystem::path& file) {
            for (int wait = 0; wait < 200000 && !std::filesystem::exists(file); ++wait)
                std::this_thread::sleep_for(std::chrono::microseconds{50});
        };
        // Some writes, then one that is seen to begin.
        if (kill > 0) wait_for(path);
        std::this_thread::sleep_for(std::chrono::microseconds{random.below(20000)});
        wait_for(part);
        std::this_thread::sleep_for(std::chrono::microseconds{random.below(1000)});
        REQUIRE(::kill(child, SIGKILL) == 0);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));  // it has not refused anything
        while_writing += std::filesystem::exists(part) ? 1u : 0u;

        const auto trainer = setting.trainer();
        const CheckpointFile checkpoint{path, run};
        CHECK_FALSE(std::filesystem::exists(part));
        const auto note = checkpoint.read(*trainer);
        if (!note) continue;  // killed in front of the first
        const TrainerState state = trainer->state();
        CHECK(*note == std::to_string(state.steps));
        CHECK(state.steps >= newest);
        newest = state.steps;
        bool all = true;
        for (const Parameter& p : trainer->layout()) {
            for (const float value : p.read(state.second_moments.data())) all = all && value == static_cast<float>(newest);
        }
        CHECK(all);
    }
    CHECK(while_writing >= 3);
    CHECK(newest > 0);
}

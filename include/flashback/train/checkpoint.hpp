/// \file Checkpoints: what a run needs to go on after it was ended, however that happened.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/train/trainer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA {

/// What makes a run the run that it is: its options and a hash of its data, as texts by name. Two runs that agree in all of them
/// do the same, to the bit.
using RunDescription = std::vector<std::pair<std::string, std::string>>;

/// The checkpoint of one run: a GGUF file with the parameters and the moments of AdamW by name, in f32, the number of steps, the
/// description of the run, a note of the caller's and a checksum of all this. Belongs to one run at a time, which a lock on the file
/// `PATH.lock` guards; the system gives the lock back when the process ends, in whatever way.
///
///     CheckpointFile checkpoint{"run.ckpt", {{"lr", "0.001"}, {"data", hash}}};
///     checkpoint.read(trainer);                         // nothing, if there is none yet
///     while (trainer.state().steps < steps) {
///         trainer.step(batch_of(trainer.state().steps));
///         if (enough_time_has_passed()) checkpoint.write(trainer);
///     }
class CheckpointFile {
public:
    /// Takes the lock, and removes what a run that was killed while it wrote has left behind.
    /// Throws    Error{io} if the folder is not there or not writable, or if another run holds the lock
    CheckpointFile(std::filesystem::path path, RunDescription run) : path_(std::move(path)), run_(std::move(run)) {
        const std::string lock = path_.string() + ".lock";
        lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (lock_ < 0) FLASHBACK_THROW(ErrorCode::io, "cannot write '", lock, "': ", std::strerror(errno));
        if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            ::close(lock_);
            FLASHBACK_THROW(ErrorCode::io, "the checkpoint '", path_.string(), "' ",
                            error == EWOULDBLOCK ? "belongs to another run, which has not ended" : std::strerror(error));
        }
        remove_leftovers();
    }
    CheckpointFile(const CheckpointFile&) = delete;
    CheckpointFile& operator=(const CheckpointFile&) = delete;
    ~CheckpointFile() { ::close(lock_); }

    const std::filesystem::path& path() const noexcept { return path_; }

    /// Writes the state of a trainer, whole or not at all: under another name, to the disk, then over the checkpoint before it.
    /// Throws    Error{io}, and then the checkpoint is as it was
    void write(Trainer& trainer, std::string_view note = {}) {
        const TrainerState state = trainer.state();
        const std::array<std::span<const float>, 3> arrays{state.parameters, state.first_moments, state.second_moments};
        GgufWriter writer{path_};
        Fingerprint sum = begin_sum(state.steps, note, run_);
        for (std::size_t a = 0; a < arrays.size(); ++a) {
            for (const Parameter& p : trainer.layout()) {
                writer.add_tensor(p.name + suffixes[a], std::array<std::uint64_t, 2>{p.inputs, p.outputs}, DType::f32);
                sum.add(p.name + suffixes[a]);
                sum.add(std::as_bytes(std::span<const float>{p.read(arrays[a].data())}));
            }
        }
        writer.set("general.architecture", architecture)
            .set("checkpoint.steps", std::to_string(state.steps))
            .set("checkpoint.note", note)
            .set("checkpoint.sum", std::to_string(sum.value()));
        for (const auto& [name, value] : run_) writer.set(run_prefix + name, value);
        for (const std::span<const float> array : arrays) {
            for (const Parameter& p : trainer.layout())
                writer.write(std::as_bytes(std::span<const float>{p.read(array.data())}));
        }
        writer.finish();
    }

    /// Puts a trainer where the checkpoint has it and gives the note that was written with it; nothing, if there is no checkpoint.
    /// Requires  the trainer has the options of the run
    /// Throws    Error{format} if the file is damaged, or is no checkpoint; Error{contract} if it is one of another run; Error{io};
    ///           then the trainer is as it was
    std::optional<std::string> read(Trainer& trainer) const {
        std::error_code unknown;
        if (!std::filesystem::exists(path_, unknown)) return {};
        const GgufFile file = GgufFile::open(path_);
        if (file.text("general.architecture") != architecture) {
            FLASHBACK_THROW(ErrorCode::format, "'", path_.string(), "' is no checkpoint, but another GGUF file");
        }
        const std::uint64_t steps = number(file, "checkpoint.steps");
        std::string note{file.text("checkpoint.note").value_or("")};
        RunDescription run;
        for (const auto& [key, value] : file.metadata()) {
            if (key.starts_with(run_prefix))
                run.emplace_back(key.substr(run_prefix.size()), file.text(key).value_or(std::string_view{}));
        }
        Fingerprint sum = begin_sum(steps, note, run);
        for (const GgufTensor& tensor : file.tensors()) {
            sum.add(tensor.name);
            sum.add(tensor.data);
        }
        if (sum.value() != number(file, "checkpoint.sum")) damaged("what it holds does not give its checksum");
        check_run(run);

        const ParameterLayout& layout = trainer.layout();
        std::array<std::vector<std::vector<float>>, 3> values;
        for (std::size_t a = 0; a < values.size(); ++a) {
            for (const Parameter& p : layout) values[a].push_back(tensor(file, p, suffixes[a]));
        }
        const TrainerState state = trainer.state();
        const std::array<float*, 3> arrays{state.parameters.data(), state.first_moments.data(), state.second_moments.data()};
        for (std::size_t a = 0; a < values.size(); ++a) {
            std::size_t i = 0;
            for (const Parameter& p : layout) p.write(values[a][i++], arrays[a]);
        }
        state.steps = steps;
        return note;
    }

private:
    static constexpr std::string_view architecture = "flashback-checkpoint-1";
    static constexpr std::array<const char*, 3> suffixes{"", ".m", ".v"};
    inline static const std::string run_prefix = "run.";

    static Fingerprint begin_sum(std::uint64_t steps, std::string_view note, const RunDescription& run) {
        Fingerprint sum;
        sum.add(steps);
        sum.add(note);
        for (const auto& [name, value] : run) {
            sum.add(name);
            sum.add(value);
        }
        return sum;
    }

    [[noreturn]] void damaged(const std::string& why) const {
        FLASHBACK_THROW(ErrorCode::format, "the checkpoint '", path_.string(), "' is damaged: ", why,
                        "; a run without it begins anew");
    }

    std::uint64_t number(const GgufFile& file, std::string_view key) const {
        const std::string_view text = file.text(key).value_or("");
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size()) damaged(std::string{key} + " is no whole number");
        return value;
    }

    void check_run(const RunDescription& found) const {
        const auto value_in = [](const RunDescription& run, const std::string& name) {
            const auto it = std::ranges::find(run, name, &RunDescription::value_type::first);
            return it == run.end() ? std::string{"absent"} : detail::printable(it->second);
        };
        const auto compare = [&](const RunDescription& names) {
            for (const auto& [name, value] : names) {
                const std::string then = value_in(found, name);
                const std::string now = value_in(run_, name);
                if (then == now) continue;
                FLASHBACK_THROW(ErrorCode::contract, "the checkpoint '", path_.string(), "' is of another run: its ",
                                detail::printable(name), " is ", then, ", but now it is ", now);
            }
        };
        compare(run_);
        compare(found);
    }

    std::vector<float> tensor(const GgufFile& file, const Parameter& p, const char* suffix) const {
        const std::string name = p.name + suffix;
        const GgufTensor* found = file.tensor(name);
        if (!found || found->type != DType::f32 || found->dims != std::array<std::uint64_t, 4>{p.inputs, p.outputs, 1, 1}) {
            FLASHBACK_THROW(ErrorCode::contract, "the checkpoint '", path_.string(), "' is of another run: it has no tensor ",
                            name, " of ", p.outputs, " x ", p.inputs, " floats");
        }
        std::vector<float> values(p.outputs * p.inputs);
        std::memcpy(values.data(), found->data.data(), values.size() * sizeof(float));
        return values;
    }

    // Those of GgufWriter, which nobody writes while the lock is held.
    void remove_leftovers() const {
        const std::string stem = path_.filename().string() + ".part";
        std::error_code ignored;
        const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path{"."};
        std::vector<std::filesystem::path> leftovers;
        for (const auto& entry : std::filesystem::directory_iterator{folder, ignored}) {
            const std::string name = entry.path().filename().string();
            const std::string_view rest = name.starts_with(stem) ? std::string_view{name}.substr(stem.size()) : "";
            const bool digits = std::ranges::all_of(rest, [](char c) { return c >= '0' && c <= '9'; });
            if (!rest.empty() && digits) leftovers.push_back(entry.path());
        }
        for (const auto& leftover : leftovers) std::filesystem::remove(leftover, ignored);
    }

    std::filesystem::path path_;
    RunDescription run_;
    int lock_ = -1;
};

}  // namespace flashback::inline FLASHBACK_ISA

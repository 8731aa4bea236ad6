/// \file Checkpoints: what a run needs to go on after it was ended, however that happened.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/train/detail/checkpoint_reader.hpp"
#include "flashback/train/trainer.hpp"

#include <array>
#include <cerrno>
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
        lock_.file = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (lock_.file < 0) FLASHBACK_THROW(ErrorCode::io, "cannot write '", lock, "': ", std::strerror(errno));
        if (::flock(lock_.file, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            FLASHBACK_THROW(ErrorCode::io, "the checkpoint '", path_.string(), "' ",
                            error == EWOULDBLOCK ? "belongs to another run, which has not ended" : std::strerror(error));
        }
        remove_leftovers();
    }
    CheckpointFile(const CheckpointFile&) = delete;
    CheckpointFile& operator=(const CheckpointFile&) = delete;
    ~CheckpointFile() = default;

    const std::filesystem::path& path() const noexcept { return path_; }

    /// Writes the state of a trainer, whole or not at all: under another name, to the disk, then over the checkpoint before it.
    /// Throws    Error{io}, and then the checkpoint is as it was
    void write(Trainer& trainer, std::string_view note = {}) {
        const TrainerState state = trainer.state();
        const std::array<std::span<const float>, 3> arrays{state.parameters, state.first_moments, state.second_moments};
        GgufWriter writer{path_};
        Fingerprint sum = detail::begin_checkpoint_sum(state.steps, note, run_);
        for (std::size_t a = 0; a < arrays.size(); ++a) {
            for (const Parameter& p : trainer.layout()) {
                writer.add_tensor(p.name + detail::checkpoint_suffixes[a], std::array<std::uint64_t, 2>{p.inputs, p.outputs},
                                  DType::f32);
                sum.add(p.name + detail::checkpoint_suffixes[a]);
                sum.add(std::as_bytes(std::span<const float>{p.read(arrays[a].data())}));
            }
        }
        writer.set("general.architecture", detail::checkpoint_architecture)
            .set("checkpoint.steps", std::to_string(state.steps))
            .set("checkpoint.note", note)
            .set("checkpoint.sum", std::to_string(sum.value()));
        for (const auto& [name, value] : run_) writer.set(std::string{detail::checkpoint_run_prefix} + name, value);
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
        const detail::CheckpointReader reader{file};
        reader.check_sum();
        reader.check_run(run_);
        const ParameterLayout& layout = trainer.layout();
        std::array<detail::CheckpointReader::Values, 3> values;
        for (std::size_t a = 0; a < values.size(); ++a) values[a] = reader.values(layout, detail::checkpoint_suffixes[a]);
        std::string note = reader.note;

        const TrainerState state = trainer.state();
        const std::array<float*, 3> arrays{state.parameters.data(), state.first_moments.data(), state.second_moments.data()};
        for (std::size_t a = 0; a < values.size(); ++a) {
            std::size_t i = 0;
            for (const Parameter& p : layout) p.write(values[a][i++], arrays[a]);
        }
        state.steps = reader.steps;
        return note;
    }

private:
    /// Gives the lock back also where the constructor throws behind it.
    struct Lock {
        int file = -1;
        Lock() = default;
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        ~Lock() {
            if (file >= 0) ::close(file);
        }
    };

    // Those of GgufWriter, which nobody writes while the lock is held.
    void remove_leftovers() const {
        std::vector<std::filesystem::path> leftovers;
        try {
            leftovers = temporary_files_of(path_);
        } catch (const Error&) {  // they stay, and harm nothing
        }
        std::error_code ignored;
        for (const auto& leftover : leftovers) std::filesystem::remove(leftover, ignored);
    }

    std::filesystem::path path_;
    RunDescription run_;
    Lock lock_;
};

}  // namespace flashback::inline FLASHBACK_ISA

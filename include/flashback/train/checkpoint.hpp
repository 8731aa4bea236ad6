/// \file Checkpoints: what a run needs to go on after it has ended in any way.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/train/detail/checkpoint_reader.hpp"
#include "flashback/train/trainer.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The checkpoint of one run. It is a GGUF file with the parameters and the moments of AdamW by name, in f32. It also has the
/// number of steps, the description of the run, a note by the caller, and a checksum of all this. Only one run at a time may
/// use it; a lock on the file `PATH.lock` ensures that. The system releases the lock when the process ends, however that
/// happens.
///
///     CheckpointFile checkpoint{"run.ckpt", {{"lr", "0.001"}, {"data", hash}}};
///     checkpoint.read(trainer);                         // nothing, if there is none yet
///     while (trainer.state().steps < steps) {
///         trainer.step(batch_of(trainer.state().steps));
///         if (enough_time_has_passed()) checkpoint.write(trainer);
///     }
class CheckpointFile {
public:
    /// Takes the lock. Removes what is left of a run that was killed while it wrote.
    /// Throws    Error{io} if the folder is not there or not writable, or if another run holds the lock
    CheckpointFile(std::filesystem::path path, RunDescription run);
    CheckpointFile(const CheckpointFile&) = delete;
    CheckpointFile& operator=(const CheckpointFile&) = delete;
    ~CheckpointFile() = default;

    /// Where it is.
    const std::filesystem::path& path() const noexcept { return path_; }

    /// Writes the state of a trainer, as a whole or not at all: first under another name, then to the disk, then over the old
    /// checkpoint.
    /// Throws    Error{io}, and then the checkpoint is as it was
    void write(Trainer& trainer, std::string_view note = {});

    /// Brings a trainer to the state of the checkpoint and gives the note that was written with it; nothing if there is no
    /// checkpoint.
    /// Requires  the trainer has the options of the run
    /// Throws    Error{format} if the file is damaged or not a checkpoint; Error{contract} if it belongs to another run;
    ///           Error{io}; then the trainer is as it was
    std::optional<std::string> read(Trainer& trainer) const;

private:
    /// A member of its own, so that the lock is also released if the constructor throws later.
    struct Lock {
        int file = -1;
        Lock() = default;
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        ~Lock() {
            if (file >= 0) ::close(file);
        }
    };

    // Temporary files of GgufWriter. Nobody else writes them while the lock is held.
    void remove_leftovers() const;

    std::filesystem::path path_;
    RunDescription run_;
    Lock lock_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/train/detail/checkpoint.hpp"
#endif

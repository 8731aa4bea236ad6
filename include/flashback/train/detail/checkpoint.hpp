/// \file Writing and reading checkpoints.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/train/checkpoint.hpp"
#include "flashback/train/detail/checkpoint_reader.hpp"
#include "flashback/train/trainer.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

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

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE CheckpointFile::CheckpointFile(std::filesystem::path path, RunDescription run)
    : path_(std::move(path)), run_(std::move(run)) {
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

FLASHBACK_DETAIL_ONCE void CheckpointFile::write(Trainer& trainer, std::string_view note) {
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
        for (const Parameter& p : trainer.layout()) writer.write(std::as_bytes(std::span<const float>{p.read(array.data())}));
    }
    writer.finish();
}

FLASHBACK_DETAIL_ONCE std::optional<std::string> CheckpointFile::read(Trainer& trainer) const {
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

FLASHBACK_DETAIL_ONCE void CheckpointFile::remove_leftovers() const {
    std::vector<std::filesystem::path> leftovers;
    try {
        leftovers = temporary_files_of(path_);
    } catch (const Error&) {  // leftovers stay, and do no harm
    }
    std::error_code ignored;
    for (const auto& leftover : leftovers) std::filesystem::remove(leftover, ignored);
}

}  // namespace flashback::inline FLASHBACK_ISA

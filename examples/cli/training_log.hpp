/// \file The log of a run of training.
#pragma once

#include "flashback/train/trainer.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

namespace cli {

/// The log of a run as CSV, one row for each step. A run that goes on from a step writes after the row of that step; a run from
/// the start replaces what was there. A row that cannot be written as a whole leaves no part of it.
class TrainingLog {
public:
    /// Without a name it keeps nothing.
    /// Throws    Error{io}, as every function
    TrainingLog(std::string file, std::uint64_t steps_done);
    TrainingLog(const TrainingLog&) = delete;
    TrainingLog& operator=(const TrainingLog&) = delete;
    ~TrainingLog();

    void add(const flashback::StepResult& step, double seconds, std::optional<double> valid_nats);
    /// Completes the last row, unless an earlier part of the run has done so.
    void add_validation(double valid_nats);

private:
    /// Puts text at `at`. If that fails, the file ends from there with `before`, as it did.
    void write(::off_t at, const std::string& text, std::string_view before);
    [[noreturn]] void refuse(int error) const;

    std::string file_;
    int out_ = -1;
    ::off_t size_ = 0;
};

}  // namespace cli

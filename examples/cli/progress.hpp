/// \file How far a command is, on standard error.
#pragma once

#include "flashback/train/trainer.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace cli {

double seconds_since(std::chrono::steady_clock::time_point start);

/// Text as printf makes it, up to 255 bytes.
template <class... Values>
std::string formatted(const char* format, Values... values) {
    std::array<char, 256> text{};
    std::snprintf(text.data(), text.size(), format, values...);
    return text.data();
}

/// Replaces the line of a terminal in which the cursor is. The new one is cut to the columns of the terminal less 1, or to 79
/// if they are unknown, because a line that wraps could not be replaced.
void show_line(const std::string& text);

/// As show_line, with a bar in front if there is room for both.
/// Requires  done is at most all, which is not 0
void show_bar(std::uint64_t done, std::uint64_t all, const std::string& text);

/// A line on a terminal that says how far a part of the work has come.
class ProgressLine {
public:
    explicit ProgressLine(const char* what, const char* things = "strides");
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ~ProgressLine();
    void show(std::size_t done, std::size_t all) const;

private:
    const char* what_;
    const char* things_;
    bool shown_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Says how far a run of training is: a bar on a terminal, a line from time to time elsewhere.
class TrainingProgress {
public:
    TrainingProgress(std::uint64_t steps, std::uint64_t steps_done);
    TrainingProgress(const TrainingProgress&) = delete;
    TrainingProgress& operator=(const TrainingProgress&) = delete;
    ~TrainingProgress();

    void add(const flashback::StepResult& step, std::optional<double> valid_nats);
    /// Makes room for other lines.
    void clear();

private:
    using Clock = std::chrono::steady_clock;

    std::string line(std::uint64_t step) const;

    std::uint64_t steps_;
    std::uint64_t first_;
    bool terminal_;
    Clock::time_point start_ = Clock::now();
    Clock::time_point shown_ = start_;
    std::size_t tokens_ = 0;
    double loss_ = 0;    ///< a mean in which older steps count less
    double weight_ = 0;  ///< of it
    std::optional<double> valid_nats_;
};

}  // namespace cli

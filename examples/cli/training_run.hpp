/// \file What is common to commands that train: checkpoints at intervals, a way to stop, the result.
#pragma once

#include "common.hpp"
#include "files_of_command.hpp"
#include "flashback/train/checkpoint.hpp"
#include "flashback/train/trainer.hpp"
#include "job.hpp"
#include "progress.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cli {

/// The options of a run that change no bit of its result.
struct RunOptions {
    std::string checkpoint;          ///< empty: none is kept
    bool passing_checkpoint = true;  ///< it is removed once what was trained is written
    std::uint64_t checkpoint_steps = 0;
    double checkpoint_seconds = 60;
    std::string log;
    std::size_t valid_every = 0;

    /// Adds --checkpoint, --checkpoint-every, --log and --valid-every, which goes with the option `valid`.
    void add(CLI::App& command, CLI::Option* valid);
    /// Decides where the checkpoint is: beside `out`, unless --checkpoint names it.
    /// Throws    CLI::ValidationError for --checkpoint-every without a checkpoint
    void settle(const std::string& out);
    /// Names the log and the checkpoint.
    void name_files(FilesOfCommand& files) const;

private:
    const CLI::Option* every_ = nullptr;
};

/// The options of the optimiser.
struct OptimiserOptions {
    std::uint64_t steps = 0;
    std::size_t batch = 8;
    double lr = 1e-3, warmup_ratio = 0.05, beta2 = 0.95, weight_decay = 0.1, clip = 1;
    std::string decay = "cosine", precision = "f32";
    std::uint64_t seed = 0;

    /// Adds --steps and the others, with what is set as default; `steps` of 0 must be given.
    void add(CLI::App& command, const std::string& examples, const std::string& seeds);
    flashback::TrainerOptions trainer_options(std::vector<flashback::TokenId> cut_columns,
                                              flashback::ExecutorRef executor) const;
    /// Adds what the result depends on.
    void describe(flashback::RunDescription& run) const;
};

/// A number in the form in which a checkpoint has it.
std::string hexadecimal(std::uint64_t number);
std::string shortest(double number);

/// Signals that end a run after its step instead of within it: Ctrl-C, the system's request to end, a terminal that is closed,
/// and a reader of its output that is gone.
inline constexpr std::array stopping_signals{SIGINT, SIGTERM, SIGHUP, SIGPIPE};

/// Receives the stopping signals as long as it exists; those that were ignored when the program started stay ignored. What was
/// received counts until the last of those that exist together is gone.
class StopSignals {
public:
    StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;
    ~StopSignals();

    static bool received() noexcept;

private:
    std::array<void (*)(int), stopping_signals.size()> before_{};
};

/// What a run came to.
struct RunResult {
    std::uint64_t resumed_from = 0;  ///< steps that an earlier part of the run did
    double loss = 0;                 ///< of the last step; NaN if no step was left to do
    double seconds = 0;              ///< of training, including earlier parts
    std::size_t tokens = 0;          ///< trained on since `resumed_from`
    double tokens_per_second = 0;    ///< since `resumed_from`
    std::optional<double> valid_nats;
};

/// Adds what a run came to, to the JSON object of its command; `valid` is null, for the command to fill.
void describe(const RunResult& result, std::uint64_t steps, Json& json);

/// What a run does: a step, counted from 0; at the end, writing what was trained; and now and then a validation, if there is
/// one, which gives nats per token.
struct RunParts {
    std::function<flashback::StepResult(std::uint64_t)> step;
    std::function<void()> write;
    std::function<double()> validate;
    std::uint64_t validation = 0;            ///< a number for the data of it: ranks must have the same
    std::optional<std::uint64_t> data = {};  ///< what ranks compare as "data", if it is not that of the description
};

/// Trains to the last step, on all ranks together, starting from the checkpoint if there is one. Then it writes, and only then
/// validates: what was trained for hours does not wait for a number. Only rank 0 keeps files: it reads the checkpoint for all,
/// decides when one is due, and writes.
/// Throws    Error{contract} if ranks differ; Error{logits} if the loss is no longer a number; Error{io} if a signal ended it, or
///           a file cannot be written; what the checkpoint throws
RunResult train(flashback::Trainer& trainer, std::uint64_t steps, const RunOptions& options,
                const flashback::RunDescription& description, const RunParts& parts);

}  // namespace cli

#include "training_run.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/format/folder.hpp"
#include "training_log.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace cli {
namespace {

namespace fb = flashback;

volatile std::sig_atomic_t stop_received = 0;
int receivers = 0;  // the StopSignals that exist

void receive(int /*signal*/) { stop_received = 1; }

/// "500" is every 500 steps, "90s" every 90 seconds.
std::string parse_interval(const std::string& text, RunOptions& options) {
    const std::string_view number = std::string_view{text}.substr(0, text.size() - (text.ends_with('s') ? 1 : 0));
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || end != number.data() + number.size() || value == 0)
        return "found " + text + ", expected a number of steps, or of seconds such as 90s";
    options.checkpoint_steps = text.ends_with('s') ? 0 : value;
    options.checkpoint_seconds = text.ends_with('s') ? static_cast<double>(value) : std::numeric_limits<double>::infinity();
    return {};
}

/// What a run has taken so far, as the note of its checkpoint says.
/// Throws    Error{format} if it says something else
double seconds_in(const std::string& note, const std::string& checkpoint) {
    const Json json = Json::parse(note, nullptr, /*allow_exceptions=*/false);
    const auto found = json.is_object() ? json.find("seconds") : json.end();
    if (found != json.end() && found->is_number() && found->get<double>() >= 0) return found->get<double>();
    FLASHBACK_THROW(fb::ErrorCode::format, "the note of the checkpoint '", checkpoint, "' is ", fb::printable(note),
                    ", expected the seconds of the run, as in {\"seconds\":12.5}");
}

/// The checkpoint of a run. One that nobody asked for is removed with all that belongs to it, once it is no longer needed.
class RunCheckpoint {
public:
    RunCheckpoint(const RunOptions& options, const fb::RunDescription& description) : passing_(options.passing_checkpoint) {
        if (options.checkpoint.empty()) return;
        if (passing_)
            folder_.emplace(std::filesystem::path{options.checkpoint}.parent_path());  // what is written may make it, too
        file_.emplace(options.checkpoint, description);
    }
    RunCheckpoint(const RunCheckpoint&) = delete;
    RunCheckpoint& operator=(const RunCheckpoint&) = delete;
    ~RunCheckpoint() {
        std::error_code unknown;
        // While the lock is held; nobody waits for it.
        if (file_ && passing_ && !std::filesystem::exists(file_->path(), unknown))
            std::filesystem::remove(file_->path().string() + ".lock", unknown);
    }

    explicit operator bool() const noexcept { return file_.has_value(); }

    /// The note of the checkpoint that is there; nothing if none is.
    std::optional<std::string> read(fb::Trainer& trainer) const {
        if (!file_) return {};
        try {
            return file_->read(trainer);
        } catch (const fb::Error& error) {
            if (!passing_ || error.code() != fb::ErrorCode::contract) throw;
            FLASHBACK_THROW(error.code(), error.what(), "; remove the file to begin anew, or give --checkpoint another one");
        }
    }
    /// Writes it. If that fails, it is as it was, and the result says why.
    std::string write(fb::Trainer& trainer, double seconds) {
        try {
            if (file_) file_->write(trainer, Json{{"seconds", seconds}}.dump());
            return {};
        } catch (const fb::Error& error) {
            if (error.code() != fb::ErrorCode::io) throw;
            return error.what();
        }
    }
    /// Ends the run: what was trained is written, so a passing checkpoint is removed.
    void finish() {
        std::error_code unknown;
        if (file_ && passing_) std::filesystem::remove(file_->path(), unknown);
    }

private:
    bool passing_;
    std::optional<fb::MadeFolder> folder_;
    std::optional<fb::CheckpointFile> file_;
};

/// What rank 0 decides after a step, for all.
struct Decision {
    bool stop = false, validate = false, checkpoint = false;
};

/// Brings the trainers of the other ranks to the state of that of rank 0.
void share_state(fb::Trainer& trainer) {
    const fb::TrainerState state = trainer.state();
    ranks().broadcast_one(state.steps);
    if (state.steps == 0) return;  // all are as they were made
    for (const std::span<float> values : {state.parameters, state.first_moments, state.second_moments})
        ranks().broadcast(values);
}

/// Ranks that have done the same steps have the same parameters, unless their machines compute differently.
void check_parameters(fb::Trainer& trainer) {
    if (ranks().size() == 1) return;
    fb::check_agreement(ranks(), {{"trained state after step " + std::to_string(trainer.state().steps),
                                   hexadecimal(fb::Fingerprint::of(std::as_bytes(trainer.state().parameters)))}});
}

}  // namespace

void RunOptions::add(CLI::App& command, CLI::Option* valid) {
    command
        .add_option(
            "--checkpoint", checkpoint,
            "Keep the state of the run in this file; if it exists, the run goes on from there, bit for bit as if it had "
            "never stopped. By default OUT.checkpoint, which is removed when OUT is written; none: keep nothing")
        ->type_name("FILE");
    every_ = command
                 .add_option_function<std::string>(
                     "--checkpoint-every",
                     [this](const std::string& text) {
                         if (const std::string error = parse_interval(text, *this); !error.empty())
                             throw CLI::ValidationError("--checkpoint-every: " + error);
                     },
                     "How often, in steps (500) or in seconds (90s); by default 60s")
                 ->type_name("N|Ns");
    command.add_option("--log", log, "Write a row of CSV for each step into this file; a run from the start replaces it")
        ->type_name("FILE");
    command.add_option("--valid-every", valid_every, "Validate every N steps and at the end; 0: only at the end")
        ->transform(at_least(0))
        ->needs(valid)
        ->capture_default_str();
}

void RunOptions::settle(const std::string& out) {
    passing_checkpoint = checkpoint.empty();
    if (checkpoint == "none") {
        if (every_->count() > 0) throw CLI::ValidationError("--checkpoint-every needs a checkpoint, found --checkpoint none");
        checkpoint.clear();
    } else if (checkpoint.empty()) {
        checkpoint = path_of(out).string() + ".checkpoint";
    }
}

void RunOptions::name_files(FilesOfCommand& files) const {
    files.writes_if_given("--log", log);
    files.keeps_checkpoint("--checkpoint", checkpoint, passing_checkpoint);
}

void OptimiserOptions::add(CLI::App& command, const std::string& examples, const std::string& seeds) {
    auto* const count = command.add_option("--steps", steps, "Steps of the optimiser")->transform(at_least(1));
    steps == 0 ? count->required() : count->capture_default_str();
    command.add_option("--batch", batch, examples + " of a step")->transform(at_least(1))->capture_default_str();
    command.add_option("--lr", lr, "The greatest learning rate")->check(number_from(0, 1e30))->capture_default_str();
    command.add_option("--warmup-ratio", warmup_ratio, "Share of the steps in which the learning rate rises")
        ->check(number_from(0, 1))
        ->capture_default_str();
    command.add_option("--decay", decay, "How the learning rate falls after that: cosine or linear, both to 0, or constant")
        ->check(CLI::IsMember({"cosine", "linear", "constant"}))
        ->capture_default_str();
    command.add_option("--beta2", beta2, "How much of AdamW's second moment a step keeps")
        ->check(number_from(0, 0.999999))
        ->capture_default_str();
    command.add_option("--weight-decay", weight_decay, "Weight decay of AdamW, for matrices")
        ->check(number_from(0, 1e6))
        ->capture_default_str();
    command.add_option("--clip", clip, "The greatest norm of a gradient; 0: any")
        ->check(number_from(0, 1e30))
        ->capture_default_str();
    command
        .add_option("--precision", precision,
                    "What products with matrices round their factors to: f32 or bf16. Sums and what trains are f32")
        ->check(CLI::IsMember({"f32", "bf16"}))
        ->capture_default_str();
    command.add_option("--seed", seed, seeds)->transform(any_seed())->capture_default_str();
}

fb::TrainerOptions OptimiserOptions::trainer_options(std::vector<fb::TokenId> cut_columns, fb::ExecutorRef executor) const {
    const fb::Decay shape = decay == "cosine" ? fb::Decay::cosine : decay == "linear" ? fb::Decay::linear : fb::Decay::constant;
    return {.learning_rate = {static_cast<float>(lr), shape, warmup_ratio, steps},
            .adamw = {.beta2 = static_cast<float>(beta2), .weight_decay = static_cast<float>(weight_decay)},
            .clip = static_cast<float>(clip),
            .cut_columns = std::move(cut_columns),
            .seed = seed,
            .executor = executor,
            .ranks = ranks(),
            .precision = precision == "bf16" ? fb::DType::bf16 : fb::DType::f32};
}

void OptimiserOptions::describe(fb::RunDescription& run) const {
    run.insert(run.end(), {{"steps", std::to_string(steps)},
                           {"batch", std::to_string(batch)},
                           {"lr", shortest(lr)},
                           {"warmup-ratio", shortest(warmup_ratio)},
                           {"decay", decay},
                           {"beta2", shortest(beta2)},
                           {"weight-decay", shortest(weight_decay)},
                           {"clip", shortest(clip)},
                           {"seed", std::to_string(seed)}});
    if (precision != "f32") run.emplace_back("precision", precision);  // older checkpoints do not name it
}

std::string hexadecimal(std::uint64_t number) { return formatted("%016llx", static_cast<unsigned long long>(number)); }

std::string shortest(double number) {
    std::string text(32, '\0');
    const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
    text.resize(static_cast<std::size_t>(end - text.data()));
    return text;
}

StopSignals::StopSignals() {
    if (receivers++ == 0) stop_received = 0;  // a job of several processes receives signals before its run does
    for (std::size_t i = 0; i < stopping_signals.size(); ++i) {
        before_[i] = std::signal(stopping_signals[i], receive);
        if (before_[i] == SIG_IGN) std::signal(stopping_signals[i], SIG_IGN);  // by nohup, say
    }
}

StopSignals::~StopSignals() {
    --receivers;
    for (std::size_t i = 0; i < stopping_signals.size(); ++i) {
        if (before_[i] != SIG_ERR) std::signal(stopping_signals[i], before_[i]);
    }
}

bool StopSignals::received() noexcept { return stop_received != 0; }

void describe(const RunResult& result, std::uint64_t steps, Json& json) {
    const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(); };
    json["steps"] = steps;
    json["resumed_from"] = result.resumed_from;
    json["loss"] = number(result.loss);
    json["seconds"] = result.seconds;
    json["tokens_per_second"] = number(result.tokens_per_second);
    json["valid"] = nullptr;
}

RunResult train(fb::Trainer& trainer, std::uint64_t steps, const RunOptions& given, const fb::RunDescription& description,
                const RunParts& parts) {
    RunResult result;
    fb::RankFacts facts = description;
    if (parts.data) {
        for (auto& [name, value] : facts) {
            if (name == "data") value = hexadecimal(*parts.data);
        }
    }
    facts.emplace_back("validation", parts.validate ? hexadecimal(parts.validation) : "none");
    check_ranks_agree(facts);
    RunOptions options = given;
    if (!ranks().first()) options.checkpoint = options.log = "";
    RunCheckpoint checkpoint{options, description};
    if (const auto note = checkpoint.read(trainer)) {
        result.seconds = seconds_in(*note, options.checkpoint);
        std::cerr << "flashback: goes on after step " << trainer.state().steps << " of " << steps << ", from '"
                  << options.checkpoint << "'\n";
    }
    share_state(trainer);
    result.resumed_from = trainer.state().steps;
    const double seconds_before = result.seconds;
    TrainingLog log{options.log, result.resumed_from};
    TrainingProgress progress{steps, result.resumed_from};
    std::optional<StopSignals> signals;
    if (checkpoint) signals.emplace();
    const auto start = std::chrono::steady_clock::now();
    auto written = start;
    result.loss = std::numeric_limits<double>::quiet_NaN();
    double seconds_of_validation = 0;
    const auto validated = [&] {
        const auto before = std::chrono::steady_clock::now();
        const double nats = parts.validate();
        seconds_of_validation += seconds_since(before);
        return nats;
    };
    std::string told;  // why the last try to write the checkpoint failed
    for (std::uint64_t done = result.resumed_from; done < steps;) {
        const fb::StepResult now = parts.step(done++);
        result.loss = now.loss;
        result.tokens += now.tokens;
        result.seconds = seconds_before + seconds_since(start);
        const bool last = done == steps;
        Decision next;
        next.stop = signals && StopSignals::received();
        next.validate = parts.validate && !last && !next.stop && options.valid_every > 0 && done % options.valid_every == 0;
        next.checkpoint = last || next.stop ||
                          (options.checkpoint_steps > 0 ? done % options.checkpoint_steps == 0
                                                        : seconds_since(written) >= options.checkpoint_seconds);
        ranks().broadcast_one(next);
        std::optional<double> valid_nats;
        if (next.validate) valid_nats = validated();
        log.add(now, result.seconds, valid_nats);
        progress.add(now, valid_nats);
        if (next.checkpoint) {
            check_parameters(trainer);
            const std::string failure = checkpoint.write(trainer, result.seconds);
            written = std::chrono::steady_clock::now();
            if (!failure.empty() || next.stop) progress.clear();
            if (next.stop) {
                FLASHBACK_THROW(
                    fb::ErrorCode::io, "the run was stopped after step ", done, " of ", steps,
                    failure.empty() ? "; the same command goes on from there" : "; its newest steps are lost: ", failure);
            }
            // What is trained may fit on the disk even if its checkpoint does not.
            if (!failure.empty() && failure != told) std::cerr << "flashback: " << failure << "; the run goes on without\n";
            told = failure;
        }
    }
    result.tokens_per_second =
        static_cast<double>(result.tokens) / std::max(seconds_since(start) - seconds_of_validation, 1e-9);
    signals.reset();  // no step is left to wait for
    only_in_first(parts.write);
    if (parts.validate) {
        result.valid_nats = parts.validate();
        log.add_validation(*result.valid_nats);
    }
    checkpoint.finish();
    return result;
}

}  // namespace cli

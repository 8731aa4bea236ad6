#include "job.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/version.hpp"
#include "flashback/simd/tiles.hpp"
#include "training_run.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <span>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#if defined(FLASHBACK_TOOL_MPI)
#include "flashback/interop/mpi.hpp"
#endif

namespace cli {

namespace fb = flashback;

namespace {

/// What these commands do is divided among ranks.
constexpr std::array<std::string_view, 3> divided_commands{"finetune", "pretrain", "ppl"};

int standard_error = -1;  // of a rank that is silent
fb::RanksRef ranks_of_job;

/// What mpirun, or another starter of processes, says to each of them.
std::string told(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

/// Refuses processes that mpirun of Open MPI has not started: they would all do the same, and write the same files.
void refuse_other_starters() {
    const std::string slurm = told("PMIX_RANK").empty() ? "" : told("SLURM_NTASKS");
    for (const std::string& size : {told("PMI_SIZE"), slurm}) {
        if (size.empty() || size == "1") continue;
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "srun or another MPI has started ", size,
                        " processes, expected mpirun of Open MPI, or one process");
    }
}

/// Refuses "-" for a file.
void refuse_standard_input(const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
        if (names_file(*option) && std::ranges::find(option->results(), "-") != option->results().end()) {
            FLASHBACK_THROW(fb::ErrorCode::unsupported, option->get_name(),
                            " is -, standard input, which mpirun gives to rank 0 only, expected the name of a file");
        }
    }
}

}  // namespace

#if defined(FLASHBACK_TOOL_MPI)
struct Job::Parts {
    StopSignals signals;  // mpirun sends one before it kills
    fb::MpiRanks mpi{StopSignals::received};
};

namespace {

fb::MpiRanks* mpi_of_job = nullptr;

/// What ranks must have in common before they have read anything: arithmetic, and options.
fb::RankFacts facts_of(const CLI::App& command) {
    fb::RankFacts facts{{"version", FLASHBACK_VERSION},
                        {"arithmetic", FLASHBACK_ISA_NAME},
                        {"use of tiles", std::string{fb::simd::tiles().reason}},
                        {"command", command.get_name()}};
    for (const CLI::Option* option : command.get_options()) {
        if (option->get_name() == "--threads") continue;
        if (names_file(*option)) {  // machines may have other names for the same file
            facts.emplace_back(option->get_name(), option->count() == 0 ? "not given" : "given");
            continue;
        }
        std::string values;
        for (const std::string& value : option->results()) values += (values.empty() ? "" : " ") + value;
        facts.emplace_back(option->get_name(), option->count() == 0 ? "not given" : values);
    }
    return facts;
}

}  // namespace
#else
struct Job::Parts {};
#endif

fb::RanksRef ranks() { return ranks_of_job; }

void silence_other_ranks() {
    const std::string rank = told("OMPI_COMM_WORLD_RANK");
    if (rank.empty() || rank == "0") return;
    standard_error = ::dup(STDERR_FILENO);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere, stream);
}

Job::Job() = default;

Job::Job(const CLI::App& command) : Job{} {  // so that what throws below leaves through the destructor
    const std::string size = told("OMPI_COMM_WORLD_SIZE");
    if (size.empty()) refuse_other_starters();
    if (size.empty() || size == "1") return;
    if (std::ranges::find(divided_commands, command.get_name()) == divided_commands.end()) {
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "mpirun has started ", size, " processes of ", command.get_name(),
                        ", which runs in one; finetune, pretrain and ppl run in several");
    }
    refuse_standard_input(command);
#if defined(FLASHBACK_TOOL_MPI)
    parts_ = std::make_unique<Parts>();
    mpi_of_job = &parts_->mpi;
    ranks_of_job = parts_->mpi;
    try {
        check_ranks_agree(facts_of(command));
    } catch (const std::exception& error) {  // while there is somebody who can tell the others
        give_up(error.what());
        throw;
    }
#else
    FLASHBACK_THROW(fb::ErrorCode::unsupported, "mpirun has started ", size,
                    " processes, but this tool was built without MPI and runs in one; build it where libopenmpi-dev is");
#endif
}

Job::~Job() {
    ranks_of_job = {};
#if defined(FLASHBACK_TOOL_MPI)
    mpi_of_job = nullptr;
#endif
}

void Job::give_up([[maybe_unused]] std::string_view why) noexcept {
#if defined(FLASHBACK_TOOL_MPI)
    if (mpi_of_job != nullptr) mpi_of_job->give_up(why);
#endif
}

void Job::speak() noexcept {
    if (standard_error >= 0) ::dup2(standard_error, STDERR_FILENO);
}

void check_ranks_agree(const fb::RankFacts& facts) { fb::check_agreement(ranks(), facts); }

std::uint64_t key_of(fb::TokenSpan tokens) { return fb::Fingerprint::of(std::as_bytes(std::span{tokens})); }

std::uint64_t key_of(const fb::RetrievedStrides& strides) {
    fb::Fingerprint all;
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const fb::RetrievedStride one = strides[i];
        all.add(one.at);
        all.add(one.context);
        all.add(key_of(one.passages));
        for (const std::uint64_t end : one.ends) all.add(end - one.begin);
        all.add(std::as_bytes(one.scores));
    }
    return all.value();
}

}  // namespace cli

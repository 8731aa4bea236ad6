/// \file The processes of mpirun that run a command together.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/retrieval_strides.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace cli {

/// Those that run this command: one, unless mpirun has started several.
flashback::RanksRef ranks();

/// Lets only rank 0 print: what the other processes of mpirun write on standard output and standard error goes nowhere.
void silence_other_ranks();

/// Joins the processes of mpirun, if there are several, for the time that it exists.
class Job {
public:
    /// Throws    Error{unsupported} for several processes if the command knows only one, reads standard input, or if the tool is
    ///           built without MPI, or if another MPI than Open MPI has started them; Error{contract} if they have other options,
    ///           --threads and names of files apart
    explicit Job(const CLI::App& command);
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    ~Job();

    /// Tells the other ranks that this one has failed.
    static void give_up(std::string_view why) noexcept;
    /// Lets this rank print although it is not the first, which may be gone.
    static void speak() noexcept;

private:
    struct Parts;
    Job();
    std::unique_ptr<Parts> parts_;
};

/// Does something in rank 0 only. The others wait for it, and fail if it does.
template <class Work>
void only_in_first(const Work& work) {
    if (ranks().first()) work();
    char done = 0;
    ranks().broadcast_one(done);
}

/// Does something in rank 0 first, so that the others find what it has written.
template <class Work>
auto first_before_others(const Work& work) {
    char turn = 0;
    if (!ranks().first()) ranks().broadcast_one(turn);
    auto result = work();
    if (ranks().first()) ranks().broadcast_one(turn);
    return result;
}

/// Makes sure that all ranks have the same input; `facts` are numbers for it.
/// Throws    as flashback::check_agreement
void check_ranks_agree(const flashback::RankFacts& facts);

/// A number for tokens.
std::uint64_t key_of(flashback::TokenSpan tokens);
/// A number for strides and what was found for them.
std::uint64_t key_of(const flashback::RetrievedStrides& strides);

}  // namespace cli

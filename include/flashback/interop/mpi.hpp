/// \file MPI: the processes of a job as Ranks, on one machine or on several.
///
/// The umbrella does not include this header, because it needs a library of MPI (Open MPI 4.1). CMake: `flashback::mpi`.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/ranks.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#if !defined(OMPI_SKIP_MPICXX)
/// Leaves out the C++ bindings of Open MPI, which MPI 3 has removed.
#define OMPI_SKIP_MPICXX 1
#endif
#if !defined(MPICH_SKIP_MPICXX)
/// The same for MPICH.
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

namespace flashback::inline FLASHBACK_ISA {

/// The processes of a job of MPI as Ranks. There is at most one of these in a program; it starts MPI, and ends it.
///
///     MpiRanks ranks;  // mpirun has started this program several times
///     Trainer trainer{model, targets, {.ranks = ranks}};
///
/// If a process is killed, mpirun asks the others to end (SIGTERM), and kills them a second later. If a program receives that
/// signal and `interrupted` says so, a wait for another rank ends with RankLost in between.
class MpiRanks {
public:
    /// Whether this process was asked to end.
    using Interrupted = std::function<bool()>;

    /// Starts MPI, for calls from one thread.
    /// Throws    Error{contract} if MPI was started already; Error{io} if it cannot
    explicit MpiRanks(Interrupted interrupted = {}) : interrupted_(std::move(interrupted)) {
        int started = 0;
        MPI_Initialized(&started);
        FLASHBACK_ASSERT(started == 0, "MPI was started already, expected one MpiRanks in a program, which starts it");
        int threads = 0;
        check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &threads), "start");
        check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "start");
        int number = 0;
        check(MPI_Comm_rank(MPI_COMM_WORLD, &number), "start");
        rank_ = static_cast<std::size_t>(number);
        check(MPI_Comm_size(MPI_COMM_WORLD, &number), "start");
        size_ = static_cast<std::size_t>(number);
    }
    MpiRanks(const MpiRanks&) = delete;
    MpiRanks& operator=(const MpiRanks&) = delete;
    /// Ends MPI, which waits for all ranks, but not after RankLost.
    ~MpiRanks() {
        if (!lost_) MPI_Finalize();
    }

    /// The number of this process.
    std::size_t rank() const noexcept { return rank_; }
    /// How many there are.
    std::size_t size() const noexcept { return size_; }

    /// Sends bytes to another rank; long messages wait until it receives them.
    /// Throws    Error{io} if that one gave up, or MPI fails; RankLost if this process was asked to end and waits in vain
    void send(std::span<const std::byte> bytes, std::size_t to) {
        for (std::size_t at = 0; at < bytes.size(); at += most) {
            MPI_Request request = MPI_REQUEST_NULL;
            const std::size_t count = std::min(most, bytes.size() - at);
            check(MPI_Isend(bytes.data() + at, static_cast<int>(count), MPI_BYTE, static_cast<int>(to), tag_of_data,
                            MPI_COMM_WORLD, &request),
                  "send");
            wait(request, to);
        }
    }

    /// Receives as many bytes from another rank.
    /// Throws    as send
    void receive(std::span<std::byte> bytes, std::size_t from) {
        for (std::size_t at = 0; at < bytes.size(); at += most) {
            MPI_Request request = MPI_REQUEST_NULL;
            const std::size_t count = std::min(most, bytes.size() - at);
            check(MPI_Irecv(bytes.data() + at, static_cast<int>(count), MPI_BYTE, static_cast<int>(from), tag_of_data,
                            MPI_COMM_WORLD, &request),
                  "receive");
            wait(request, from);
        }
    }

    /// Tells all others that this rank goes no further, and why: where they wait, they throw Error{io} with that sentence. After
    /// this nothing is sent or received.
    void give_up(std::string_view why) noexcept {
        std::copy_n(why.data(), std::min(why.size(), why_.size()), why_.begin());
        for (std::size_t other = 0; other < size_ && !lost_; ++other) {
            if (other == rank_) continue;
            MPI_Request request = MPI_REQUEST_NULL;  // a message this short is on its way at once
            if (MPI_Isend(why_.data(), static_cast<int>(std::min(why.size(), why_.size())), MPI_BYTE, static_cast<int>(other),
                          tag_of_end, MPI_COMM_WORLD, &request) == MPI_SUCCESS)
                MPI_Request_free(&request);
        }
    }

private:
    using Clock = std::chrono::steady_clock;

    static constexpr int tag_of_data = 1;
    static constexpr int tag_of_end = 2;
    static constexpr std::size_t most = std::size_t{1} << 30;  // bytes of a message, which MPI counts with an int
    static constexpr std::chrono::milliseconds grace{600};     // mpirun kills a second after it has asked

    static void check(int status, const char* what) {
        if (status == MPI_SUCCESS) return;
        std::array<char, MPI_MAX_ERROR_STRING> text{};
        int size = 0;
        MPI_Error_string(status, text.data(), &size);
        FLASHBACK_THROW(ErrorCode::io, "MPI cannot ", what, ": ", std::string(text.data(), static_cast<std::size_t>(size)));
    }

    // MPI has no wait that ends when another rank fails, so this looks again and again.
    void wait(MPI_Request& request, std::size_t other) {
        Clock::time_point asked = Clock::time_point::max();
        for (std::size_t looks = 0;; ++looks) {
            int done = 0;
            check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "wait");
            if (done != 0) return;
            if (looks < 1000) {
                std::this_thread::yield();
                continue;
            }
            look_for_end(request);
            if (interrupted_ && interrupted_()) {
                const Clock::time_point now = Clock::now();
                asked = std::min(asked, now);
                if (now - asked > grace) lose(other);
            }
            std::this_thread::sleep_for(std::chrono::microseconds{50});
        }
    }

    void look_for_end(MPI_Request& request) {
        int found = 0;
        MPI_Status status{};
        check(MPI_Iprobe(MPI_ANY_SOURCE, tag_of_end, MPI_COMM_WORLD, &found, &status), "wait");
        if (found == 0) return;
        int size = 0;
        check(MPI_Get_count(&status, MPI_BYTE, &size), "wait");
        std::string why(static_cast<std::size_t>(size), ' ');
        check(MPI_Recv(why.data(), size, MPI_BYTE, status.MPI_SOURCE, tag_of_end, MPI_COMM_WORLD, MPI_STATUS_IGNORE), "wait");
        MPI_Cancel(&request);  // its memory goes away
        MPI_Request_free(&request);
        FLASHBACK_THROW(ErrorCode::io, "rank ", status.MPI_SOURCE, ": ", why);
    }

    [[noreturn]] void lose(std::size_t other) {
        lost_ = true;
        throw RankLost{"rank " + std::to_string(rank_) + " was asked to end while it waited for rank " + std::to_string(other) +
                       ", which may be gone"};
    }

    Interrupted interrupted_;
    std::size_t rank_ = 0;
    std::size_t size_ = 1;
    bool lost_ = false;
    std::array<char, 1024> why_{};  // must stay until it is sent
};

}  // namespace flashback::inline FLASHBACK_ISA

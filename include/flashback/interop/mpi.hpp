/// \file MPI: the processes of a job as Ranks, on one machine or on several.
///
/// The umbrella does not include this header, because it needs Open MPI (4.1). CMake: `flashback::mpi`.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/ranks.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
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
#include <mpi.h>

#if !defined(OPEN_MPI)
#error "flashback/interop/mpi.hpp needs Open MPI, found another MPI: it relies on how mpirun of Open MPI ends processes"
#endif

namespace flashback::inline FLASHBACK_ISA {

/// The processes of a job of MPI as Ranks. There is at most one of these in a program; it starts MPI, and ends it.
///
///     MpiRanks ranks;  // mpirun has started this program several times
///     Trainer trainer{model, targets, {.ranks = ranks}};
///
/// If a process is killed, mpirun asks the others to end (SIGTERM), and kills them a second later. If a program receives that
/// signal and `interrupted` says so, a wait for another rank ends with RankLost in between.
///
/// If an exception leaves the scope of this object, the other ranks do not wait for this one: they throw, too.
class MpiRanks {
public:
    /// Whether this process was asked to end.
    using Interrupted = std::function<bool()>;

    /// Starts MPI, for calls from one thread.
    /// Throws    Error{contract} if MPI was started already; Error{io} if it says that it cannot start, but it may end the program
    explicit MpiRanks(Interrupted interrupted = {})
        : interrupted_(std::move(interrupted)), exceptions_(std::uncaught_exceptions()) {
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
    /// Ends MPI, which waits for all ranks. Not after RankLost, nor if another rank gave up before it received what was sent: then
    /// mpirun ends them. For an exception this rank gives up before.
    ~MpiRanks() {
        if (std::uncaught_exceptions() > exceptions_) give_up("ended by an exception");
        if (!lost_ && !left_) MPI_Finalize();
    }

    /// The number of this process.
    std::size_t rank() const noexcept { return rank_; }
    /// How many there are.
    std::size_t size() const noexcept { return size_; }

    /// Sends bytes to another rank; long messages wait until it receives them.
    /// Throws    Error{io} if any rank gave up, or MPI fails; RankLost if this process was asked to end and waits in vain
    void send(std::span<const std::byte> bytes, std::size_t to) {
        for (std::size_t at = 0; at < bytes.size(); at += most) {
            MPI_Request request = MPI_REQUEST_NULL;
            const std::size_t count = std::min(most, bytes.size() - at);
            check(MPI_Isend(bytes.data() + at, static_cast<int>(count), MPI_BYTE, static_cast<int>(to), tag_of_data,
                            MPI_COMM_WORLD, &request),
                  "send");
            wait(request, to, Kind::send);
        }
    }

    /// Receives as many bytes from another rank.
    /// Throws    as send; Error{io} if that one sent fewer or more
    void receive(std::span<std::byte> bytes, std::size_t from) {
        for (std::size_t at = 0; at < bytes.size(); at += most) {
            MPI_Request request = MPI_REQUEST_NULL;
            const std::size_t count = std::min(most, bytes.size() - at);
            check(MPI_Irecv(bytes.data() + at, static_cast<int>(count), MPI_BYTE, static_cast<int>(from), tag_of_data,
                            MPI_COMM_WORLD, &request),
                  "receive");
            const MPI_Status status = wait(request, from, Kind::receive);
            int sent = 0;
            check(MPI_Get_count(&status, MPI_BYTE, &sent), "receive");
            if (static_cast<std::size_t>(sent) != count) {
                FLASHBACK_THROW(ErrorCode::io, "rank ", from, " sent ", sent, " bytes, expected ", count,
                                ": the ranks do different things");
            }
        }
    }

    /// Tells all others that this rank goes no further, and why: where they wait, they throw Error{io} with that sentence. After
    /// this nothing is sent or received, and giving up again does nothing.
    void give_up(std::string_view why) noexcept {
        if (std::exchange(gave_up_, true)) return;
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
    enum class Kind { send, receive };

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
    MPI_Status wait(MPI_Request& request, std::size_t other, Kind kind) {
        Clock::time_point asked = Clock::time_point::max();
        for (std::size_t looks = 0;; ++looks) {
            MPI_Status end{};
            int ended = 0;
            if (looks >= 1000) check(MPI_Iprobe(MPI_ANY_SOURCE, tag_of_end, MPI_COMM_WORLD, &ended, &end), "wait");
            int done = 0;
            MPI_Status status{};
            const int tested = MPI_Test(&request, &done, &status);
            int error = MPI_SUCCESS;
            MPI_Error_class(tested, &error);
            if (error == MPI_ERR_TRUNCATE) {
                FLASHBACK_THROW(ErrorCode::io, "rank ", other, " sent more bytes than expected: the ranks do different things");
            }
            check(tested, "wait");
            if (done != 0) return status;  // also if it was sent before an end
            if (looks < 1000) {
                std::this_thread::yield();
                continue;
            }
            if (ended != 0) fail_as(end, request, kind);
            if (interrupted_ && interrupted_()) {
                const Clock::time_point now = Clock::now();
                asked = std::min(asked, now);
                if (now - asked > grace) lose(other);
            }
            std::this_thread::sleep_for(std::chrono::microseconds{50});
        }
    }

    // Throws what another rank said when it gave up.
    [[noreturn]] void fail_as(const MPI_Status& end, MPI_Request& request, Kind kind) {
        int size = 0;
        check(MPI_Get_count(&end, MPI_BYTE, &size), "wait");
        std::string why(static_cast<std::size_t>(size), ' ');
        check(MPI_Recv(why.data(), size, MPI_BYTE, end.MPI_SOURCE, tag_of_end, MPI_COMM_WORLD, MPI_STATUS_IGNORE), "wait");
        kind == Kind::receive ? withdraw_receive(request) : leave_send(request);
        FLASHBACK_THROW(ErrorCode::io, "rank ", end.MPI_SOURCE, ": ", why);
    }

    // The memory of a request goes away. A message that has begun to arrive cannot be stopped, but arrives: who sends it still moves
    // it on, while it waits or ends MPI.
    static void withdraw_receive(MPI_Request& request) noexcept {
        MPI_Cancel(&request);
        MPI_Wait(&request, MPI_STATUS_IGNORE);
    }

    // A send cannot be cancelled, and is never done if nobody receives it. If somebody did so later, ending MPI would read its memory.
    void leave_send(MPI_Request& request) noexcept {
        int done = 0;
        for (const Clock::time_point begin = Clock::now(); done == 0 && Clock::now() - begin < grace;)
            MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done != 0) return;
        MPI_Request_free(&request);
        left_ = true;
    }

    [[noreturn]] void lose(std::size_t other) {
        lost_ = true;
        throw RankLost{"rank " + std::to_string(rank_) + " was asked to end while it waited for rank " + std::to_string(other) +
                       ", which may be gone"};
    }

    Interrupted interrupted_;
    std::size_t rank_ = 0;
    std::size_t size_ = 1;
    int exceptions_ = 0;  // that were under way when this was made
    bool lost_ = false;
    bool left_ = false;  // a message that nobody has received
    bool gave_up_ = false;
    std::array<char, 1024> why_{};  // must stay until it is sent
};

}  // namespace flashback::inline FLASHBACK_ISA

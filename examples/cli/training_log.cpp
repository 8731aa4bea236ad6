#include "training_log.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "progress.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace cli {

namespace fb = flashback;

namespace {

constexpr std::string_view head_of_log = "step,loss,gradient_norm,learning_rate,tokens,seconds,valid_nats\n";

/// How much of a log belongs to the first steps. A killed run may have left half a row.
std::size_t bytes_of_steps(const std::string& log, std::uint64_t steps) {
    std::size_t kept = 0;
    for (std::size_t end; (end = log.find('\n', kept)) != log.npos; kept = end + 1) {
        std::uint64_t step = 0;
        std::from_chars(log.data() + kept, log.data() + end, step);  // leaves 0 for the head
        if (step > steps) break;
    }
    return kept;
}

}  // namespace

TrainingLog::TrainingLog(std::string file, std::uint64_t steps_done) : file_(std::move(file)) {
    if (file_.empty()) return;
    // What was logged after the checkpoint is done again. The file is cut, not written again: a run that is killed here must
    // not lose the rows of steps that are never done again.
    std::size_t kept = 0;
    if (std::error_code unknown; steps_done > 0 && std::filesystem::exists(file_, unknown))
        kept = bytes_of_steps(read_text(file_), steps_done);
    if (kept == 0) {
        write_whole(file_, head_of_log);
        kept = head_of_log.size();
    }
    size_ = static_cast<::off_t>(kept);
    out_ = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
    if (out_ < 0) refuse(errno);
    if (::ftruncate(out_, size_) == 0) return;
    const int error = errno;
    ::close(out_);
    refuse(error);
}

TrainingLog::~TrainingLog() {
    if (out_ >= 0) ::close(out_);
}

void TrainingLog::refuse(int error) const {
    FLASHBACK_THROW(fb::ErrorCode::io, "cannot write the log '", file_, "': ", std::strerror(error));
}

void TrainingLog::write(::off_t at, const std::string& text, std::string_view before) {
    for (std::size_t done = 0; done < text.size();) {
        const ::ssize_t some = ::pwrite(out_, text.data() + done, text.size() - done, at + static_cast<::off_t>(done));
        if (some >= 0) {
            done += static_cast<std::size_t>(some);
        } else if (const int error = errno; error != EINTR) {
            static_cast<void>(::pwrite(out_, before.data(), before.size(), at) < 0 || ::ftruncate(out_, size_) < 0);
            refuse(error);
        }
    }
    size_ = at + static_cast<::off_t>(text.size());
}

void TrainingLog::add(const fb::StepResult& step, double seconds, std::optional<double> valid_nats) {
    if (file_.empty()) return;
    write(size_,
          formatted("%llu,%.9g,%.9g,%.9g,%zu,%.2f,", static_cast<unsigned long long>(step.number), step.loss,
                    step.gradient_norm, static_cast<double>(step.learning_rate), step.tokens, seconds) +
              (valid_nats ? formatted("%.9g", *valid_nats) : "") + '\n',
          "");
}

void TrainingLog::add_validation(double valid_nats) {
    if (file_.empty()) return;
    std::array<char, 2> end{};
    constexpr auto open_row = static_cast<::off_t>(end.size());  // ",\n"
    if (::pread(out_, end.data(), end.size(), size_ - open_row) != open_row || end[0] != ',') return;
    write(size_ - 1, formatted("%.9g", valid_nats) + '\n', "\n");
}

}  // namespace cli

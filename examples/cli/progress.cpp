#include "progress.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>

#include <sys/ioctl.h>
#include <unistd.h>

namespace cli {

namespace fb = flashback;

namespace {

bool on_terminal() { return ::isatty(STDERR_FILENO) == 1; }

/// How long a line may be: the last column stays free, because some terminals wrap after it.
std::size_t room() {
    ::winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return (known ? size.ws_col : 80u) - 1u;
}

void erase_line() { std::cerr << "\r\x1b[K"; }

}  // namespace

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void show_line(const std::string& text) {
    erase_line();
    std::cerr << text.substr(0, room()) << std::flush;
}

void show_bar(std::uint64_t done, std::uint64_t all, const std::string& text) {
    constexpr std::size_t most = 24;
    constexpr std::size_t frame = 3;  // brackets and a blank
    const std::size_t used = text.size() + frame;
    const std::size_t width = std::min(most, room() - std::min(room(), used));
    if (width == 0) return show_line(text);
    const auto full = static_cast<std::size_t>(width * done / all);
    show_line('[' + std::string(full, '#') + std::string(width - full, '-') + "] " + text);
}

ProgressLine::ProgressLine(const char* what, const char* things) : what_(what), things_(things), shown_(on_terminal()) {}

ProgressLine::~ProgressLine() {
    if (!shown_) return;
    erase_line();
    std::cerr << std::flush;
}

void ProgressLine::show(std::size_t done, std::size_t all) const {
    if (!shown_) return;
    const double left = seconds_since(start_) * static_cast<double>(all - done) / static_cast<double>(done);
    show_line(formatted("%s %zu of %zu %s, %ld s left", what_, done, all, things_, static_cast<long>(left)));
}

TrainingProgress::TrainingProgress(std::uint64_t steps, std::uint64_t steps_done)
    : steps_(steps), first_(steps_done), terminal_(on_terminal()) {}

TrainingProgress::~TrainingProgress() { clear(); }

void TrainingProgress::clear() {
    if (!terminal_) return;
    erase_line();
    std::cerr << std::flush;
}

std::string TrainingProgress::line(std::uint64_t step) const {
    const double seconds = seconds_since(start_);
    const auto left = static_cast<long long>(seconds / static_cast<double>(step - first_) * static_cast<double>(steps_ - step));
    std::string text = formatted("step %llu/%llu  loss %.4f", static_cast<unsigned long long>(step),
                                 static_cast<unsigned long long>(steps_), loss_);
    if (valid_nats_) text += formatted("  valid perplexity %.2f", std::exp(*valid_nats_));
    return text + formatted("  %.0f tokens/s  %lld:%02lld:%02lld left", static_cast<double>(tokens_) / seconds, left / 3600,
                            left / 60 % 60, left % 60);
}

void TrainingProgress::add(const fb::StepResult& step, std::optional<double> valid_nats) {
    constexpr double newest = 0.02;
    weight_ = (1 - newest) * weight_ + newest;
    loss_ += (step.loss - loss_) * newest / weight_;
    tokens_ += step.tokens;
    if (valid_nats) valid_nats_ = valid_nats;
    const double silent = seconds_since(shown_);
    const bool last = step.number == steps_;
    if (!(last || valid_nats || silent >= (terminal_ ? 0.1 : 30))) return;
    shown_ = Clock::now();
    if (terminal_) {
        show_bar(step.number, steps_, line(step.number));
        if (valid_nats || last) std::cerr << '\n' << std::flush;  // stays
    } else {
        std::cerr << line(step.number) << '\n';
    }
}

}  // namespace cli

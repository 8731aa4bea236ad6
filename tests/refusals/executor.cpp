// Refused: flashback: an Executor must have concurrency() and run(std::size_t count, task)
#include "flashback/core/executor.hpp"

using namespace flashback;

/// Starts tasks one by one, as thread pools elsewhere do.
struct Submits {
    std::size_t concurrency() const;
    void submit(void (*task)());
};

struct Settings {
    ExecutorRef executor = {};
};

int main() {
    [[maybe_unused]] Submits submits;
    [[maybe_unused]] SerialExecutor serial;
#ifdef WRONG
    const Settings settings{.executor = submits};
#else
    const Settings settings{.executor = serial};
#endif
    settings.executor.run(3, [](std::size_t) {});
}

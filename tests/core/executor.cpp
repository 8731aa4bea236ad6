#include "flashback/core/executor.hpp"

#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

/// Says that it runs so many tasks at once, and runs them one by one from the last to the first.
struct Backwards {
    std::size_t tasks;
    std::size_t runs = 0;

    std::size_t concurrency() const { return tasks; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        ++runs;
        for (std::size_t i = count; i-- > 0;) task(i);
    }
};

struct NoRun {
    static std::size_t concurrency() { return 1; }
};

static_assert(Executor<SerialExecutor> && Executor<ExecutorRef> && Executor<Backwards>);
static_assert(!Executor<int> && !Executor<NoRun>);
static_assert(!std::is_constructible_v<ExecutorRef, Backwards>, "a reference to a temporary would dangle");

}  // namespace

TEST_CASE("a reference to nothing runs all tasks in order in the caller's thread") {
    const ExecutorRef executor;
    CHECK(executor.concurrency() == 1);
    std::vector<std::size_t> seen;
    executor.run(4, [&](std::size_t i) { seen.push_back(i); });
    CHECK(seen == std::vector<std::size_t>{0, 1, 2, 3});
    executor.run(0, [](std::size_t) { FAIL("no task was given"); });
}

TEST_CASE("a reference hands tasks to the executor it names") {
    Backwards backwards{3};
    const ExecutorRef executor{backwards};
    const ExecutorRef copy = executor;
    CHECK(copy.concurrency() == 3);
    std::vector<std::size_t> seen;
    copy.run(3, [&](std::size_t i) { seen.push_back(i); });
    CHECK(seen == std::vector<std::size_t>{2, 1, 0});
    CHECK(backwards.runs == 1);
    copy.run(1, [&](std::size_t i) { seen.push_back(i); });
    CHECK(seen.size() == 4);
}

TEST_CASE("a constant executor can be referred to") {
    const SerialExecutor serial;
    int sum = 0;
    ExecutorRef{serial}.run(3, [&](std::size_t i) { sum += static_cast<int>(i); });
    CHECK(sum == 3);
}

TEST_CASE("an executor that says it runs nothing at once still runs everything") {
    Backwards backwards{0};
    const ExecutorRef executor{backwards};
    CHECK(executor.concurrency() == 1);
    std::size_t done = 0;
    executor.run_ranges(10, 4, [&](std::size_t begin, std::size_t end) { done += end - begin; });
    CHECK(done == 10);
}

TEST_CASE("ranges cover everything once and are cut at multiples of the grain") {
    for (const std::size_t tasks : {1u, 2u, 3u, 4u, 7u}) {
        Backwards backwards{tasks};
        const ExecutorRef executor{backwards};
        for (const std::size_t grain : {1u, 4u, 16u}) {
            for (std::size_t count = 0; count <= 100; ++count) {
                std::vector<int> seen(count);
                std::size_t ranges = 0;
                bool well_cut = true;
                executor.run_ranges(count, grain, [&](std::size_t begin, std::size_t end) {
                    ++ranges;
                    well_cut = well_cut && begin < end && begin % grain == 0 && (end % grain == 0 || end == count);
                    for (std::size_t i = begin; i < end; ++i) ++seen[i];
                });
                CAPTURE(tasks);
                CAPTURE(grain);
                CAPTURE(count);
                REQUIRE(seen == std::vector<int>(count, 1));
                REQUIRE(well_cut);
                REQUIRE(ranges == std::min(tasks, (count + grain - 1) / grain));
            }
        }
    }
}

TEST_CASE("an exception of a task is thrown where the tasks were given, and the executor is as good as before") {
    Backwards backwards{3};
    const ExecutorRef executor{backwards};
    std::vector<std::size_t> seen;
    const auto task = [&](std::size_t i) {
        if (i == 3) throw std::runtime_error("task 3");
        seen.push_back(i);
    };
    CHECK_THROWS_WITH_AS(executor.run(5, task), "task 3", std::runtime_error);
    CHECK(seen == std::vector<std::size_t>{4});  // what had begun
    executor.run(3, task);
    CHECK(seen == std::vector<std::size_t>{4, 2, 1, 0});
    CHECK_THROWS_WITH_AS(executor.run_ranges(5, 1, [](std::size_t, std::size_t) { throw std::runtime_error("range"); }),
                         "range", std::runtime_error);
}

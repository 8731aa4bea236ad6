/// \file Where parallel work runs: the concept Executor, the serial one, and a reference to any.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Something that runs a task several times at once; the library starts no thread of its own.
///
/// | expression             | result        | meaning                                                                   |
/// |------------------------|---------------|---------------------------------------------------------------------------|
/// | `e.concurrency()`      | `std::size_t` | how many tasks may run at once, >= 1                                       |
/// | `e.run(count, task)`   |               | calls `task(i)` for all i < count, in any order; returns when all are done |
///
/// Tasks do not throw; ExecutorRef makes sure of that. No result depends on the concurrency. The threads must round as the
/// caller's thread does (rule R10).
template <class E>
concept Executor = requires(E& executor, std::size_t count, void (&task)(std::size_t)) {
    { executor.concurrency() } -> std::convertible_to<std::size_t>;
    executor.run(count, task);
};

/// Runs everything in the caller's thread.
struct SerialExecutor {
    /// One thread: the caller's.
    static constexpr std::size_t concurrency() noexcept { return 1; }

    /// Calls `task(i)` for i = 0 to count - 1, in this order.
    template <class Task>
    static void run(std::size_t count, Task&& task) {
        for (std::size_t i = 0; i < count; ++i) task(i);
    }
};

/// A reference to an executor of any type. It must not outlive that executor; by default it is serial.
class ExecutorRef {
public:
    ExecutorRef() noexcept = default;

    /// Refers to an executor of any type.
    template <class E>
        requires(!std::same_as<std::remove_cv_t<E>, ExecutorRef>)
    ExecutorRef(E& executor) : object_(const_cast<void*>(static_cast<const void*>(std::addressof(executor)))) {
        static_assert(Executor<E>, "flashback: an Executor must have concurrency() and run(std::size_t count, task)");
        if constexpr (Executor<E>) {
            concurrency_ = [](void* e) -> std::size_t { return static_cast<E*>(e)->concurrency(); };
            run_ = [](void* e, std::size_t count, void* context, Call call) {
                static_cast<E*>(e)->run(count, [=](std::size_t i) { call(context, i); });
            };
        }
    }

    /// How many tasks may run at once; 1 if the executor says 0.
    std::size_t concurrency() const { return object_ ? std::max(concurrency_(object_), std::size_t{1}) : 1; }

    /// Calls `task(i)` for all i < count. If a task throws, tasks that have begun still finish, and others may never begin.
    /// After that, what was thrown first is thrown here.
    template <class Task>
    void run(std::size_t count, Task&& task) const {
        if (!object_ || count <= 1) return SerialExecutor::run(count, task);
#if defined(__cpp_exceptions)
        Guarded<std::remove_reference_t<Task>> guarded{task};
        run_(object_, count, &guarded, [](void* c, std::size_t i) { (*static_cast<decltype(guarded)*>(c))(i); });
        if (guarded.failure) std::rethrow_exception(guarded.failure);
#else
        auto* context = const_cast<void*>(static_cast<const void*>(std::addressof(task)));
        run_(object_, count, context, [](void* c, std::size_t i) { (*static_cast<std::remove_reference_t<Task>*>(c))(i); });
#endif
    }

    /// Calls `task(begin, end)` for ranges that cover [0, count), cut only at multiples of `grain` (rule R10).
    /// Requires  grain > 0
    template <class Task>
    void run_ranges(std::size_t count, std::size_t grain, Task&& task) const {
        const std::size_t grains = (count + grain - 1) / grain;
        const std::size_t parts = std::min(grains, concurrency());
        run(parts, [&](std::size_t part) {
            const std::size_t begin = grains * part / parts * grain;
            const std::size_t end = std::min(count, grains * (part + 1) / parts * grain);
            task(begin, end);
        });
    }

private:
    using Call = void (*)(void*, std::size_t);

#if defined(__cpp_exceptions)
    /// Catches what tasks throw: an exception that leaves a task on a thread of the executor would end the program.
    template <class Task>
    struct Guarded {
        Task& task;
        std::atomic<bool> failed = false;
        std::exception_ptr failure = nullptr;  // written by the first that failed

        void operator()(std::size_t i) noexcept {
            if (failed.load(std::memory_order_relaxed)) return;
            try {
                task(i);
            } catch (...) {
                if (!failed.exchange(true)) failure = std::current_exception();
            }
        }
    };
#endif

    void* object_ = nullptr;
    std::size_t (*concurrency_)(void*) = nullptr;
    void (*run_)(void*, std::size_t, void*, Call) = nullptr;
};

}  // namespace flashback::inline FLASHBACK_ISA

/// \file Runs tasks that may throw on an executor whose tasks must not.
#pragma once

#include "flashback/core/executor.hpp"

#include <cstddef>
#include <exception>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Calls `task(i)` for all i < count. If some threw, throws what the first of them threw.
template <class Task>
void run_tasks(const ExecutorRef& executor, std::size_t count, const Task& task) {
    std::vector<std::exception_ptr> errors(count);
    executor.run(count, [&](std::size_t i) {
        try {
            task(i);
        } catch (...) {
            errors[i] = std::current_exception();
        }
    });
    for (const std::exception_ptr& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

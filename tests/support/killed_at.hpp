/// \file A program that is killed at one of its calls on files. A test that uses it links support/faults.cpp.
#pragma once

#include "support/faults.hpp"

#include <csignal>
#include <cstddef>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace flashback_test {

/// Does `work` in a process that is killed at its n-th call on a file.
/// Shape     whether it was; false: it came to its end before
template <class Work>
bool killed_at(std::size_t n, const Work& work) {
    const ::pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        arm(Fault::killed, n);
        work();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    REQUIRE((killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)));
    return killed;
}

}  // namespace flashback_test

/// \file One program for several processors: it carries the kernels for each and takes the best that this one can run.
/// README.md of this folder says how such a program is linked.
///
/// 05_architectures [--arch NAME]: that one instead of the best
/// 05_architectures --all: all that this processor can run, which must agree
#include "05_architectures.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <iomanip>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>

using flashback_examples::read_text;
using flashback_examples::Reading;

namespace {

using Unit = decltype(read_text)::Unit;

const Unit& named(const std::string& name) {
    std::string names;
    for (const Unit& one : read_text) {
        if (one.isa == name && one.runs_here()) return one;
        if (one.isa == name) throw std::runtime_error("this processor lacks instructions of " + name);
        names += (names.empty() ? "" : ", ") + std::string{one.isa};
    }
    throw std::runtime_error("found the architecture '" + name + "', expected one of " + names);
}

Reading run(const Unit& one) {
    const Reading reading = one.function(
        "A compiler is a program that translates a program into machine code. An operating system shares the memory of a "
        "computer among programs, and the kernel is the part of it that is always in memory.");
    double total = 0;
    for (const double logprob : reading.logprobs) total += logprob;
    std::cout << one.isa << ": " << std::fixed << std::setprecision(6) << -total / static_cast<double>(reading.logprobs.size())
              << " nats per token, " << std::setprecision(0) << reading.prefill << " tokens/s read, " << reading.decode
              << " written\n";
    return reading;
}

/// Runs all that can be run here; tells whether each gives its own bits again, and what the first gives except for rounding.
bool agree() {
    Reading plainest;
    double most = 0;
    bool same = true;
    for (const Unit& one : read_text) {
        if (!one.runs_here()) {
            std::cout << one.isa << ": not on this processor\n";
            continue;
        }
        const Reading reading = run(one);
        const Reading again = run(one);
        if (plainest.next.empty()) plainest = reading;
        same = same && reading.logprobs == again.logprobs && reading.next == again.next && reading.next == plainest.next;
        for (std::size_t i = 0; i < reading.logprobs.size(); ++i)
            most = std::max(most, std::abs(reading.logprobs[i] - plainest.logprobs[i]));
    }
    std::cout << std::scientific << std::setprecision(1) << "log-probabilities differ by at most " << most << ", allowed "
              << plainest.tolerance << "; tokens and repetitions " << (same ? "agree" : "DIFFER") << '\n';
    return same && most <= plainest.tolerance;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::span<char*> arguments{argv + 1, static_cast<std::size_t>(argc - 1)};
    if (arguments.size() == 1 && std::strcmp(arguments[0], "--all") == 0) return agree() ? 0 : 1;
    if (arguments.size() == 2 && std::strcmp(arguments[0], "--arch") == 0) {
        run(named(arguments[1]));
    } else if (arguments.empty()) {
        run(read_text.best());
    } else {
        throw std::runtime_error("expected --arch NAME, --all or nothing");
    }
    return 0;
} catch (const std::exception& error) {
    std::cerr << "05_architectures: " << error.what() << '\n';
    return 1;
}

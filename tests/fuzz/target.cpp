#include "fuzz/target.hpp"

#include "support/allocations.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace flashback_test {

std::vector<FuzzTarget>& fuzz_targets() {
    static std::vector<FuzzTarget> targets;
    return targets;
}

void fuzz_check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "finding: it does not hold that %s\n", what);
    std::abort();
}

void touch(std::span<const std::byte> bytes) {
    static volatile unsigned sink = 0;
    unsigned sum = 0;
    for (const std::byte b : bytes) sum += std::to_integer<unsigned>(b);
    sink = sink + sum;
}

void check_sentence(const flashback::Error& error) {
    const std::string_view sentence = error.what();
    fuzz_check(std::ranges::all_of(sentence, [](char c) { return c >= 32 && c < 127; }),
               "the sentence of an error has nothing but printable ASCII");
}

void run_target(const FuzzTarget& target, std::span<const std::byte> bytes) {
    const std::size_t before = allocations().bytes;
    try {
        target.parse(bytes);
    } catch (const flashback::Error& error) {
        check_sentence(error);
        fuzz_check(error.code() != flashback::ErrorCode::contract, "a bad file is no broken promise of the caller");
    }
    const std::size_t used = allocations().bytes - before;
    if (used <= target.most.per_byte * bytes.size() + target.most.constant) return;
    std::fprintf(stderr,
                 "finding: %zu bytes of input made it allocate %zu bytes, expected at most %zu for each and %zu besides\n",
                 bytes.size(), used, target.most.per_byte, target.most.constant);
    std::abort();
}

}  // namespace flashback_test

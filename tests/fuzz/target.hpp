/// \file What a fuzzer of a parser is: a function of bytes, and a bound on what it may allocate.
///
///     FLASHBACK_FUZZ_TARGET(gguf, .per_byte = 32, .constant = 4096) {
///         const GgufFile file = GgufFile::view(bytes, "fuzz.gguf");
///         ...                                    // look at all that it gives
///     }
///
/// in targets/gguf.cpp, and some valid and some hostile files in seeds/gguf.cpp (seeds.hpp), are a fuzzer with libFuzzer and a test
/// under every compiler. An input may give a result or a flashback::Error with a printable sentence; all else is a finding.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashback_test {

struct FuzzTarget {
    struct Most {
        std::size_t per_byte = 0;  ///< bytes that may be allocated for each byte of an input, all allocations added up,
        std::size_t constant = 0;  ///< and besides for any input
    };
    std::string_view name;
    Most most;
    void (*parse)(std::span<const std::byte> bytes) = nullptr;
};

/// The targets of this program.
std::vector<FuzzTarget>& fuzz_targets();

struct RegisterFuzzTarget {
    explicit RegisterFuzzTarget(const FuzzTarget& target) { fuzz_targets().push_back(target); }
};

/// Gives bytes to a target; ends the program, after a sentence on standard error, if that is a finding.
void run_target(const FuzzTarget& target, std::span<const std::byte> bytes);

/// Ends the program if something does not hold that should for every input.
void fuzz_check(bool holds, const char* what);

/// Ends the program if the sentence of an error cannot be printed as it is; run_target looks at those that leave the target.
void check_sentence(const flashback::Error& error);

/// Does what refuses a file that belongs to something else. That is said as a broken promise of the caller; here it is what is expected
/// of most inputs.
template <class Work>
void of_anything(const Work& work) {
    try {
        work();
    } catch (const flashback::Error& error) {
        check_sentence(error);
        if (error.code() != flashback::ErrorCode::contract) throw;
    }
}

/// Looks at bytes, so that a sanitizer sees a view of what is not there.
void touch(std::span<const std::byte> bytes);
inline void touch(std::string_view text) { touch(std::as_bytes(std::span{text})); }

inline std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace flashback_test

#define FLASHBACK_FUZZ_TARGET(target, ...)                                  \
    static void fuzz_##target(std::span<const std::byte> bytes);            \
    static const flashback_test::RegisterFuzzTarget register_##target{      \
        flashback_test::FuzzTarget{#target, {__VA_ARGS__}, fuzz_##target}}; \
    static void fuzz_##target(std::span<const std::byte> bytes)

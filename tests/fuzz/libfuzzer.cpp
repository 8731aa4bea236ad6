// The entry point that libFuzzer calls, for the one target of a program.
#include "fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    flashback_test::run_target(flashback_test::fuzz_targets().front(), std::as_bytes(std::span{data, size}));
    return 0;
}

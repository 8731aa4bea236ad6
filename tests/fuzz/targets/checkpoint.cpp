#include "fuzz/target.hpp"

#include "fuzz/checkpoint_layout.hpp"

using namespace flashback;
using flashback_test::fuzz_check;
using flashback_test::of_anything;

// What is behind the checksum is looked at even if it is wrong, because no fuzzer guesses it.
FLASHBACK_FUZZ_TARGET(checkpoint, .per_byte = 96, .constant = 32768) {
    const ParameterLayout layout = flashback_test::checkpoint_layout();
    const GgufFile file = GgufFile::view(bytes, "fuzz.ckpt");
    const detail::CheckpointReader reader{file};
    of_anything([&] { reader.check_run(flashback_test::checkpoint_run); });
    of_anything([&] {
        for (const char* suffix : detail::checkpoint_suffixes) {
            const detail::CheckpointReader::Values values = reader.values(layout, suffix);
            fuzz_check(values.size() == layout.parameters().size(), "each parameter has its values");
            for (const auto& tensor : values) flashback_test::touch(std::as_bytes(std::span{tensor}));
        }
    });
    reader.check_sum();
}

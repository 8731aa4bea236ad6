#include "fuzz/target.hpp"

#include "flashback/format/safetensors_folder.hpp"

using namespace flashback;
using flashback_test::fuzz_check;

FLASHBACK_FUZZ_TARGET(safetensors_index, .per_byte = 512, .constant = 65536) {
    const SafetensorsIndex index = parse_safetensors_index(flashback_test::text_of(bytes), "fuzz.json");
    fuzz_check(!index.empty(), "an index lists a tensor");
    for (const auto& [tensor, shard] : index) {
        const std::filesystem::path path{shard};
        fuzz_check(path == path.filename() && path.extension() == ".safetensors", "a shard is a file of the folder");
    }
}

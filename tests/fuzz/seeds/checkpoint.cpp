#include "fuzz/seeds.hpp"

#include "flashback/format/gguf_writer.hpp"
#include "fuzz/checkpoint_layout.hpp"
#include "support/temporary_folder.hpp"

using namespace flashback;

namespace {

/// As CheckpointFile::write, which needs a trainer.
std::string written_checkpoint(const RunDescription& run, std::string_view steps, std::string_view sum = {}) {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "run.ckpt";
    GgufWriter writer{path};
    Fingerprint all = detail::begin_checkpoint_sum(7, "a note", run);
    std::vector<std::vector<float>> numbers;
    for (const char* suffix : detail::checkpoint_suffixes) {
        for (const Parameter& p : flashback_test::checkpoint_layout()) {
            const std::vector<float> values(p.outputs * p.inputs, 0.5f);
            writer.add_tensor(p.name + suffix, std::array<std::uint64_t, 2>{p.inputs, p.outputs}, DType::f32);
            all.add(p.name + suffix);
            all.add(std::as_bytes(std::span{values}));
            numbers.push_back(values);
        }
    }
    writer.set("general.architecture", detail::checkpoint_architecture)
        .set("checkpoint.steps", steps)
        .set("checkpoint.note", "a note")
        .set("checkpoint.sum", sum.empty() ? std::to_string(all.value()) : std::string{sum});
    for (const auto& [name, value] : run) writer.set(std::string{detail::checkpoint_run_prefix} + name, value);
    for (const auto& values : numbers) writer.write(std::as_bytes(std::span{values}));
    writer.finish();
    return flashback_test::bytes_of_file(path);
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(checkpoint) {
    seeds.push_back({"good", written_checkpoint(flashback_test::checkpoint_run, "7")});
    seeds.push_back({"other_value", written_checkpoint({{"lr", "1"}, {"data", "00ff"}}, "7")});
    seeds.push_back({"other_names", written_checkpoint({{"lr", "0.01"}, {"data", "00ff"}, {"seed", "1"}}, "7")});
    seeds.push_back({"no_number", written_checkpoint(flashback_test::checkpoint_run, "7x")});
    seeds.push_back({"too_large_a_number", written_checkpoint(flashback_test::checkpoint_run, "99999999999999999999")});
    seeds.push_back({"wrong_sum", written_checkpoint(flashback_test::checkpoint_run, "7", "1")});
    seeds.push_back({"another_file", "GGUF" + std::string{"\3\0\0\0", 4} + std::string(16, '\0')});
}

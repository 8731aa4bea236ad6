#include "fuzz/target.hpp"

#include "flashback/format/peft.hpp"

using namespace flashback;
using flashback_test::fuzz_check;

// A pattern of seven characters may repeat itself into 120 steps of 12 bytes; it is read twice and tried twelve times here.
FLASHBACK_FUZZ_TARGET(peft_config, .per_byte = 1024, .constant = 65536) {
    const PeftConfig config = parse_peft_config(flashback_test::text_of(bytes), "fuzz.json");
    fuzz_check(config.rank > 0, "a rank is above 0");
    for (const std::string_view module : {"model.layers.0.self_attn.q_proj", "q_proj", "", "."}) {
        fuzz_check(config.rank_of(module) > 0, "the rank of a module is above 0");
        fuzz_check(std::isfinite(config.scale_of(module)), "a scale is a number");
        static_cast<void>(config.targets(module));
    }
    const std::string written = to_json(config);
    fuzz_check(to_json(parse_peft_config(written, "fuzz.json")) == written, "what is written is read, and written alike");
}

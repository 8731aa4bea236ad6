#include "fuzz/target.hpp"

#include "flashback/files/config_json.hpp"

#include <cmath>

using namespace flashback;
using flashback_test::fuzz_check;

FLASHBACK_FUZZ_TARGET(config_json, .per_byte = 512, .constant = 65536) {
    const ModelConfig config = parse_config_json(flashback_test::text_of(bytes), "fuzz.json");
    const TransformerConfig& shape = config.shape;
    fuzz_check(shape.vocab > 0 && shape.width > 0 && shape.layers > 0 && shape.window > 0, "no size is 0");
    fuzz_check(shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "heads share keys evenly");
    fuzz_check(shape.head_dim > 0 && shape.hidden > 0, "no size of a layer is 0");
    fuzz_check(std::isfinite(shape.norm_epsilon) && shape.norm_epsilon >= 0, "the epsilon of norms is a number from 0");
    for (const TokenId end : config.ends) fuzz_check(end >= 0, "a token that ends a text is one");
}

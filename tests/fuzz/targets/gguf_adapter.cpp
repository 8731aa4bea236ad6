#include "fuzz/target.hpp"

#include "flashback/files/load_adapter.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "fuzz/adapter_model.hpp"

using namespace flashback;
using flashback_test::fuzz_check;

static const auto changed_model = flashback_test::adapter_model();  // not a part of what an input allocates

FLASHBACK_FUZZ_TARGET(gguf_adapter, .per_byte = 64, .constant = 65536) {
    const GgufFile file = GgufFile::view(bytes, "fuzz.gguf");
    const Adapter adapter = load_adapter(file, *changed_model);
    const PackedAdapter packed{adapter, changed_model->config};
    for (const TokenId id : adapter.embedding_ids)
        fuzz_check(static_cast<std::size_t>(id) < changed_model->config.vocab, "a replaced row is one of the model's");
    for (const float value : adapter.embedding_rows) fuzz_check(std::isfinite(value), "a replaced row is of numbers");
    for (const AdapterLayer& layer : adapter.layers) {
        for (const LoraPair& pair : layer.pairs) fuzz_check(std::isfinite(pair.scale), "a scale is a number");
    }
}
